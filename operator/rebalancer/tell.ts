/** What a look at a pool tells people: metrics each time, decisions and Events when something changes. */
import { controllerOf, type DecodePool } from "../kube/object.ts";
import type { RebalanceRecord } from "../planning/rebalance/decision.ts";
import { imbalance, poolLoads, type Quantity } from "../planning/rebalance/load.ts";
import type { PoolSnapshot, RebalancePolicy } from "../planning/rebalance/pool.ts";
import { recordDecision } from "../planning/status/decisions.ts";
import { nameOf } from "./act.ts";
import type { RebalancerContext } from "./context.ts";

/** Why nothing is decided at all. */
export type Hindrance = "PoolSilent" | "StateStoreAway" | "Fenced";

export interface Finding {
  /** Reason of the decision, or why there is none. */
  readonly reason: RebalanceRecord["decision"]["reason"] | Hindrance | "Disabled";
  readonly choice: string;
  readonly refusals: readonly string[];
  /** Moves that were begun. */
  readonly begun: number;
}

const quantities: readonly Quantity[] = ["scan", "memory"];
/** Of one subject in the ring of a status. */
const shownDecisions = 3;
/** Full records are large: at most one in so long. */
const recordEveryMs = 5_000;

const warnings: Readonly<Partial<Record<Finding["reason"], string>>> = {
  StateStoreAway: "RebalanceFrozen",
  Fenced: "RebalanceFrozen",
  AbsurdFacts: "RebalanceFrozen",
  NoRoom: "DrainStuck",
};

export function subjectOf(pool: string): string {
  return `rebalancing of ${pool}`;
}

/** Tells what was found; news are a change of the reason, and moves that begin. */
export function tellFinding(context: RebalancerContext, pool: DecodePool, finding: Finding): void {
  const memory = context.memories.of(pool.metadata.uid);
  context.meters.decided(nameOf(pool), finding.reason);
  const changed = memory.toldReason !== finding.reason;
  if (!changed && finding.begun === 0) return;
  // A pool that is found even at the first look is no news; that its ranks are silent is told where they are watched.
  const first = memory.toldReason === undefined;
  const quiet = finding.reason === "PoolSilent" || (first && finding.reason === "Balanced");
  memory.toldReason = finding.reason;
  if (quiet) return;
  const record = context.gangRecords.of(pool.metadata.uid, pool.spec.revision, pool.status);
  const decision = {
    time: new Date(context.nowMs()).toISOString(),
    subject: subjectOf(pool.metadata.name),
    choice: finding.choice,
    ...(finding.begun > 0 && { changed: true }),
    refusals: [...finding.refusals],
  };
  record.decisions = [...recordDecision(record.decisions, decision, shownDecisions)];
  if (!changed) return;
  const warning = warnings[finding.reason];
  context.events.record({
    regarding: pool,
    type: warning === undefined ? "Normal" : "Warning",
    reason: warning ?? (finding.reason === "Moves" ? "Rebalancing" : "Rebalanced"),
    action: "Rebalance",
    note: finding.choice,
  });
}

export function meterImbalance(
  context: RebalancerContext,
  pool: DecodePool,
  seen: { readonly snapshot: PoolSnapshot; readonly policy: RebalancePolicy },
): void {
  // As it is now: what is under way has not arrived yet.
  const loads = [...poolLoads({ ...seen.snapshot, moves: [] }, seen.policy).values()];
  for (const quantity of quantities)
    context.meters.imbalance(nameOf(pool), quantity, imbalance(loads, quantity));
}

/** Keeps the full record of a decision that changed something, or that says why nothing can be changed. */
export async function keepFullRecord(
  context: RebalancerContext,
  pool: DecodePool,
  record: RebalanceRecord,
): Promise<string | undefined> {
  const memory = context.memories.of(pool.metadata.uid);
  const nowMs = context.nowMs();
  const reference = controllerOf(pool);
  const changed = memory.toldReason !== record.decision.reason || record.decision.moves.length > 0;
  if (reference === undefined || !changed || nowMs - memory.recordedAtMs < recordEveryMs) return undefined;
  memory.recordedAtMs = nowMs;
  return context.keeper.keep({ namespace: pool.metadata.namespace ?? "", reference }, "rebalance", {
    time: new Date(nowMs).toISOString(),
    subject: subjectOf(pool.metadata.name),
    choice: record.decision.choice,
    record,
  });
}
