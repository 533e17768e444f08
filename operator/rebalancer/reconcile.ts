/** One look at a decode pool, as sentences: look, go on with what was begun, decide, record and order, tell. */
import type { ReconcileOutcome } from "../kube/controller.ts";
import type { DecodePool } from "../kube/object.ts";
import type { RebalanceGoal, RebalanceRecord } from "../planning/rebalance/decision.ts";
import type { MoveIntent } from "../planning/rebalance/move.ts";
import { planRebalance } from "../planning/rebalance/plan.ts";
import { rebalancePolicy } from "../planning/rebalance/policy.ts";
import type { PoolSnapshot } from "../planning/rebalance/pool.ts";
import { poolSnapshot } from "../ranks/poolSnapshot.ts";
import { balances } from "../ranks/rebalanceMark.ts";
import { beginMoves, followMoves, type Turn } from "./act.ts";
import type { RebalancerContext } from "./context.ts";
import { orderedMove, readLedger } from "./ledger.ts";
import { observePool, type PoolView } from "./observe.ts";
import { type Finding, type Hindrance, keepFullRecord, meterImbalance, tellFinding } from "./tell.ts";

const movingMs = 500;
const unevenMs = 1_000;
const evenMs = 3_000;
const hinderedMs = 5_000;

export async function rebalancePool(
  context: RebalancerContext,
  pool: DecodePool,
  signal: AbortSignal,
): Promise<ReconcileOutcome> {
  const policy = rebalancePolicy(pool.spec.rebalance, pool.spec.engine.backend);
  // 1 What the pool itself says, and what was recorded. Without either nothing begins.
  const view = await observePool(context, pool, signal);
  if (typeof view === "string") return hindered(context, pool, { reason: "PoolSilent", why: view });
  meterImbalance(context, pool, { snapshot: snapshotOf(view, []), policy });
  const ledger = await readLedger(context, pool);
  if (typeof ledger === "string")
    return hindered(context, pool, { reason: "StateStoreAway", why: frozen(view, ledger) });
  // 2 Go on with what was recorded, by this leader or by one before it.
  const turn: Turn = { context, pool, view, ledger, policy, signal };
  const open = await followMoves(turn, snapshotOf(view, ledger.intents));
  if ("reason" in open) return hindered(context, pool, { reason: open.reason, why: frozen(view, open.why) });
  // 3 Decide.
  const record = decide(turn, snapshotOf(view, open));
  if (record === undefined) {
    context.memories.of(pool.metadata.uid).hindered = 0;
    tellFinding(context, pool, { reason: "Disabled", choice: "mode is Disabled", refusals: [], begun: 0 });
    return { requeueAfterMs: open.length > 0 ? movingMs : hinderedMs };
  }
  // 4 Record and order.
  const begun = await beginMoves(turn, record.decision.moves);
  if ("reason" in begun) {
    const why = begun.reason === "Fenced" ? begun.why : frozen(view, begun.why);
    return hindered(context, pool, { reason: begun.reason, why });
  }
  context.memories.of(pool.metadata.uid).hindered = 0;
  // 5 Tell.
  await keepFullRecord(context, pool, record);
  const { reason, choice, refusals } = record.decision;
  tellFinding(context, pool, { reason, choice, refusals, begun: begun.length });
  if (begun.length > 0 || record.pool.moves.length > 0) return { requeueAfterMs: movingMs };
  return { requeueAfterMs: reason === "Balanced" ? evenMs : unevenMs };
}

function snapshotOf({ inventory, closed }: PoolView, intents: readonly MoveIntent[]): PoolSnapshot {
  return poolSnapshot(inventory, {
    admits: (rankId) => !closed.has(rankId),
    ordered: intents.map(orderedMove),
  });
}

/**
 * The pool empties a rank that leaves by itself, operator or not; what is decided here is whether it can. Undefined
 * when no rank is stuck and balancing is disabled.
 */
function decide(turn: Turn, snapshot: PoolSnapshot): RebalanceRecord | undefined {
  const recorded = (goal: RebalanceGoal): RebalanceRecord => ({
    ...{ goal, pool: snapshot, policy: turn.policy },
    decision: planRebalance(snapshot, turn.policy, goal),
  });
  const stuck = turn.view.inventory.ranks
    .filter((rank) => rank.draining)
    .map((rank) => recorded({ kind: "drain", rankId: rank.rankId }))
    .find((one) => one.decision.reason === "NoRoom");
  if (stuck !== undefined) return stuck;
  return balances(turn.pool, turn.context.nowMs()) ? recorded({ kind: "balance" }) : undefined;
}

function frozen({ inventory }: PoolView, why: string): string {
  const copying = inventory.moves.filter((move) => move.phase === "copying").length;
  return `no move begins: ${why}; ${String(copying)} moves under way end by themselves`;
}

/** Told at the second look in a row: a connection that is just being made is no news. */
function hindered(
  context: RebalancerContext,
  pool: DecodePool,
  { reason, why }: { reason: Hindrance; why: string },
): ReconcileOutcome {
  const memory = context.memories.of(pool.metadata.uid);
  memory.hindered += 1;
  if (memory.hindered < 2) return { requeueAfterMs: unevenMs };
  const finding: Finding = { reason, choice: why, refusals: [], begun: 0 };
  tellFinding(context, pool, finding);
  return { requeueAfterMs: hinderedMs };
}
