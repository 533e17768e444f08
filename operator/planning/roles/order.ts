/**
 * Order of prompts that wait: as if each were due after a multiple of its own time.
 *
 *   due = arrival + patience T(L, 1)
 *
 * A multiple of zero is first come, first served; a large one shortest first. In between short prompts pass long ones,
 * which makes the mean wait short, and nobody starves: a prompt is passed only by those that came less than its own
 * patience after it. The key never changes, so a queue can be kept sorted.
 */
import { prefillSeconds, type CostProfile } from "../cost/profile.ts";

const patience = 8;

export function dueSeconds(cost: CostProfile, arrivalSeconds: number, tokens: number): number {
  return arrivalSeconds + patience * prefillSeconds(cost, tokens, 1);
}
