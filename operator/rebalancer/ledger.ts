/** The moves that this or an earlier leader recorded. Without the record nothing begins. */
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import type { MoveRecord } from "../../runtime/state/domain.ts";
import type { DecodePool } from "../kube/object.ts";
import type { Move, MoveIntent } from "../planning/rebalance/move.ts";
import type { MoveUnderWay } from "../planning/rebalance/pool.ts";
import type { RebalancerContext } from "./context.ts";

export interface Ledger {
  readonly state: ClusterState;
  readonly intents: readonly MoveIntent[];
}

/** A sentence when the cluster state gives no answer. */
export async function readLedger(context: RebalancerContext, pool: DecodePool): Promise<Ledger | string> {
  const state = await context.stateOf(pool);
  if (typeof state === "string") return state;
  const answer = await state.listMoves();
  if (!answer.ok) return `the state store does not answer: ${answer.message}`;
  const nowMs = context.nowMs();
  const intents = answer.value
    .filter((record) => record.pool === pool.metadata.name)
    .map((record) => ({ move: moveOf(record), ageMs: Math.max(0, nowMs - record.recordedMs) }));
  return { state, intents };
}

export function recordOf(move: Move, pool: string, context: MoveTimes): MoveRecord {
  const { moveId, requestId, mapVersion, from, fromIncarnation, to, toIncarnation } = move;
  const { firstPage, pages, takesHome } = move;
  const ranks = { from, fromIncarnation, to, toIncarnation };
  const bytesPerSecond = Math.floor(move.bytesPerSecond);
  const order = { moveId, requestId, mapVersion, ...ranks, firstPage, pages, takesHome, bytesPerSecond };
  return {
    moveId,
    requestId,
    pool,
    recordedMs: context.nowMs,
    order: { ...order, deadlineMs: context.deadlineMs },
    bytes: move.bytes,
  };
}

interface MoveTimes {
  readonly nowMs: number;
  readonly deadlineMs: number;
}

function moveOf({ order, bytes }: MoveRecord): Move {
  const { deadlineMs: _, ...move } = order;
  return { ...move, bytes };
}

/** As planning counts it until the pool knows it. */
export function orderedMove({ move }: MoveIntent): MoveUnderWay {
  return { ...move, state: "ordered" };
}
