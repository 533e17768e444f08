/** What rebalancing decided, and the record from which the decision can be made again. */
import type { Move } from "./move.ts";
import type { PoolSnapshot, RebalancePolicy } from "./pool.ts";

export type RebalanceReason =
  // balance and drain
  | "Moves"
  | "BudgetSpent"
  | "AbsurdFacts"
  // balance
  | "Balanced"
  | "NoMoveHelps"
  | "NotMeasured"
  | "TooFewRanks"
  // drain
  | "Drained"
  | "NoRoom"
  | "Waiting"
  | "UnknownRank";

export interface RebalanceDecision {
  readonly reason: RebalanceReason;
  /** To begin now, beside those under way. */
  readonly moves: readonly Move[];
  /** A sentence. */
  readonly choice: string;
  /** What was not done and why, a sentence each. */
  readonly refusals: readonly string[];
}

export type RebalanceGoal =
  { readonly kind: "balance" } | { readonly kind: "drain"; readonly rankId: string };

/** Everything that a decision depended on. Plain data: it may be kept as JSON. */
export interface RebalanceRecord {
  readonly goal: RebalanceGoal;
  readonly pool: PoolSnapshot;
  readonly policy: RebalancePolicy;
  readonly decision: RebalanceDecision;
}

const mostRefusals = 8;

/** Each sentence once, the first eight. */
export function shortRefusals(refusals: readonly string[]): readonly string[] {
  const distinct = [...new Set(refusals)];
  if (distinct.length <= mostRefusals) return distinct;
  return [...distinct.slice(0, mostRefusals), `and ${String(distinct.length - mostRefusals)} more`];
}
