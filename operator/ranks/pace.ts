/** How soon a gang is looked at again when nothing else wakes it. */
import { servingNow } from "../planning/gang/serving.ts";
import type { GangFindings } from "../planning/status/gangConditions.ts";

const unsettledMs = 2_000;
const settledMs = 10_000;
const unplacedMs = 15_000;

export function nextLookMs({ observed, plan, placement }: GangFindings, rosterFailed: boolean): number {
  const settled = servingNow(observed).rankIds.length === observed.spec.ranks && !rosterFailed;
  if (settled) return settledMs;
  if (plan.terminal !== undefined) return settledMs;
  // Nothing of it runs: a change of nodes or pods wakes it sooner.
  if (placement?.placed === false && observed.engines.size === 0) return unplacedMs;
  return Math.min(unsettledMs, plan.backoffMs ?? unsettledMs);
}
