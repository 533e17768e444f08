/** The one entrance to rebalancing: what to begin now. Stateless; a crash loses nothing but the time. */
import { planBalance } from "./balance.ts";
import {
  type RebalanceDecision,
  type RebalanceGoal,
  type RebalanceRecord,
  shortRefusals,
} from "./decision.ts";
import { planDrain } from "./drain.ts";
import { absurdFacts } from "./facts.ts";
import type { PoolSnapshot, RebalancePolicy } from "./pool.ts";

export function planRebalance(
  pool: PoolSnapshot,
  policy: RebalancePolicy,
  goal: RebalanceGoal = { kind: "balance" },
): RebalanceDecision {
  const absurd = absurdFacts(pool);
  if (absurd.length > 0) {
    const choice = "nothing moves: the pool reports what can't be true";
    return { reason: "AbsurdFacts", moves: [], choice, refusals: shortRefusals(absurd) };
  }
  return goal.kind === "drain" ? planDrain(pool, policy, goal) : planBalance(pool, policy);
}

/** The decision made again from its record; equal to the recorded one unless the planner has changed since. */
export function replayRebalance(record: RebalanceRecord): RebalanceDecision {
  return planRebalance(record.pool, record.policy, record.goal);
}
