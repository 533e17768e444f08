/** The one entrance to rebalancing: what to begin now. Stateless; a crash loses nothing but the time. */
import { planBalance } from "./balance.ts";
import type { RebalanceDecision, RebalanceGoal, RebalanceRecord } from "./decision.ts";
import { planDrain } from "./drain.ts";
import type { PoolSnapshot, RebalancePolicy } from "./pool.ts";

export function planRebalance(
  pool: PoolSnapshot,
  policy: RebalancePolicy,
  goal: RebalanceGoal = { kind: "balance" },
): RebalanceDecision {
  return goal.kind === "drain" ? planDrain(pool, policy, goal) : planBalance(pool, policy);
}

/** The decision made again from its record; equal to the recorded one unless the planner has changed since. */
export function replayRebalance(record: RebalanceRecord): RebalanceDecision {
  return planRebalance(record.pool, record.policy, record.goal);
}
