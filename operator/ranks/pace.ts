/** How soon a gang is looked at again when nothing else wakes it. */
import { servingNow } from "../planning/gang/serving.ts";
import type { GangFindings } from "../planning/status/gangConditions.ts";

const unsettledMs = 2_000;
const settledMs = 10_000;
const unplacedMs = 15_000;
/** A drain is over in seconds, and the rank after it waits for that. */
const drainingMs = 1_000;

export function nextLookMs({ observed, plan, placement }: GangFindings, rosterFailed: boolean): number {
  if (plan.mark.length + plan.drains.length > 0) return drainingMs;
  const settled = servingNow(observed).rankIds.length === observed.spec.ranks && !rosterFailed;
  if (settled) return settledMs;
  if (plan.terminal !== undefined) return settledMs;
  // Nothing of it runs: a change of nodes or pods wakes it sooner.
  if (placement?.placed === false && observed.engines.size === 0) return unplacedMs;
  return Math.min(unsettledMs, plan.backoffMs ?? unsettledMs);
}
