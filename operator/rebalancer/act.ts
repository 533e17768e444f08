/** Carries decisions out: records a move before it is ordered, and gives its record back when it is over. */
import { troubleOf } from "../../runtime/state/clusterState.ts";
import { RankFailure } from "../../runtime/wire/rankFailure.ts";
import type { DecodePool } from "../kube/object.ts";
import { type Move, type MoveIntent, planFollow } from "../planning/rebalance/move.ts";
import type { PoolSnapshot, RebalancePolicy } from "../planning/rebalance/pool.ts";
import { balances } from "../ranks/rebalanceMark.ts";
import type { RebalancerContext } from "./context.ts";
import { type Ledger, recordOf } from "./ledger.ts";
import type { EndedMove } from "./memory.ts";
import type { PoolView } from "./observe.ts";

const orderDeadlineMs = 3_000;
/** A record outlives its move by this much, so that a leader that was away for a while still finds it. */
const recordLivesMs = 120_000;
/** A move that was recorded and not taken for so long is given up. */
export const orderMs = 10_000;

export interface Turn {
  readonly context: RebalancerContext;
  readonly pool: DecodePool;
  readonly view: PoolView;
  readonly ledger: Ledger;
  readonly policy: RebalancePolicy;
  readonly signal: AbortSignal;
}

/** What keeps records of moves from being written, as a sentence. */
export interface NotRecorded {
  readonly reason: "Fenced" | "StateStoreAway";
  readonly why: string;
}

const fenced: NotRecorded = { reason: "Fenced", why: "another operator with a newer term moves pages" };

/** Goes on with what was recorded; returns what is still under way, or why records of moves that are over stay. */
export async function followMoves(
  turn: Turn,
  snapshot: PoolSnapshot,
): Promise<readonly MoveIntent[] | NotRecorded> {
  const { context, pool, view, ledger } = turn;
  const reports = new Map(view.inventory.moves.map((move) => [move.moveId, move]));
  const policy = { orderMs, wanted: balances(pool, context.nowMs()) };
  const { ending } = context.memories.of(pool.metadata.uid);
  const recorded = new Set(ledger.intents.map(({ move }) => move.moveId));
  for (const [moveId, ended] of ending) {
    // The store did take it, and its answer was lost.
    if (!recorded.has(moveId)) tellEnd(turn, ended);
    ending.delete(moveId);
  }
  const open: MoveIntent[] = [];
  let failure: string | undefined;
  for (const intent of ledger.intents) {
    const { move } = intent;
    const report = reports.get(move.moveId);
    const { action } = planFollow(intent, report, snapshot, policy);
    if (action === "release") {
      const ended = await ledger.state.endMove(move, context.fence());
      if (ended.ok && ended.value === "stale") return fenced;
      // Told once, by the look that gave the record back.
      if (ended.ok) tellEnd(turn, { move, report });
      else {
        ending.set(move.moveId, { move, report });
        failure = troubleOf(ended);
      }
      continue;
    }
    if (action === "order") await order(turn, move);
    if (action === "cancel") await cancel(turn, move);
    open.push(intent);
  }
  return failure === undefined ? open : { reason: "StateStoreAway", why: failure };
}

/** Returns those that were begun; why none was when another leader has taken over or nothing can be recorded. */
export async function beginMoves(turn: Turn, moves: readonly Move[]): Promise<readonly Move[] | NotRecorded> {
  const { context, pool, ledger, policy } = turn;
  const begun: Move[] = [];
  let failure: string | undefined;
  for (const planned of moves) {
    const nowMs = context.nowMs();
    // Told apart from an earlier try: the pool answers a repeated order with what became of the first.
    const move = { ...planned, moveId: `${planned.moveId}~${nowMs.toString(36)}` };
    const record = recordOf(move, pool.metadata.name, { nowMs, deadlineMs: policy.moveDeadlineMs });
    const lease = await ledger.state.beginMove(
      record,
      context.fence(),
      policy.moveDeadlineMs + recordLivesMs,
    );
    if (lease.ok && lease.value === "stale") return fenced;
    // A store may still be read when it takes no more: then moves can be planned and none recorded.
    if (!lease.ok) failure = troubleOf(lease);
    if (!lease.ok || lease.value !== "accepted") continue;
    begun.push(move);
    context.meters.moved(nameOf(pool), "ordered");
  }
  if (begun.length === 0 && failure !== undefined) return { reason: "StateStoreAway", why: failure };
  // At once: the pool answers between two steps, and each order in turn would wait for a step of its own.
  await Promise.all(begun.map((move) => order(turn, move)));
  return begun;
}

/** A failed call is no answer: the next look shows whether the pool took the order, and orders again if not. */
async function order({ context, view, policy, signal, pool }: Turn, move: Move): Promise<void> {
  const { order: body } = recordOf(move, "", { nowMs: 0, deadlineMs: policy.moveDeadlineMs });
  try {
    const call = { deadlineMs: orderDeadlineMs, signal };
    await view.client.move(view.inventory.coordinator, { ...body, fence: context.fence() }, call);
  } catch (error) {
    context.meters.moved(nameOf(pool), outcomeOf(error));
  }
}

async function cancel({ context, view, signal, pool }: Turn, { moveId }: Move): Promise<void> {
  try {
    const call = { deadlineMs: orderDeadlineMs, signal };
    await view.client.cancelMove(view.inventory.coordinator, { moveId, fence: context.fence() }, call);
  } catch (error) {
    context.meters.moved(nameOf(pool), outcomeOf(error));
  }
}

function outcomeOf(error: unknown): string {
  return error instanceof RankFailure ? error.code : "internal";
}

function tellEnd({ context, pool }: Turn, { move, report }: EndedMove): void {
  const name = nameOf(pool);
  context.meters.moved(name, report?.phase ?? "released");
  if (report?.phase === "committed")
    context.meters.committed(name, { bytes: move.bytes, stallMs: report.stallMs });
}

export function nameOf({ metadata }: DecodePool): { namespace: string; name: string } {
  return { namespace: metadata.namespace ?? "", name: metadata.name };
}
