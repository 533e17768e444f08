/**
 * One move of pages, and its next step. A move goes plan → lease → copy → verify → commit → free:
 *
 *   lease   the destination sets pages aside, under a time limit of its own
 *   copy    the source sends them; it keeps them
 *   verify  checksums of both sides agree
 *   commit  the shard map changes by compare-and-set on its epoch
 *   free    the source lets its pages go
 *
 * Whether a move was committed is read from the shard map alone, never from the record: a crash between the
 * commit and its note must neither free the source too early nor keep both copies. Each step may be repeated.
 */
import type { PoolSnapshot, RankFacts, RebalancePolicy, RequestFacts } from "./pool.ts";
import { holderOf } from "./shards.ts";

export interface Move {
  /** Equal for equal moves: to repeat a lease is to ask for the same one. */
  readonly moveId: string;
  readonly requestId: string;
  /** Of the shard map that it was planned on. */
  readonly epoch: number;
  readonly from: string;
  readonly fromIncarnation: string;
  readonly to: string;
  readonly toIncarnation: string;
  readonly firstPage: number;
  /** 0 when only the home moves. */
  readonly pages: number;
  /** To be copied; reserved pages that hold nothing cost nothing. */
  readonly bytes: number;
  /** Its share of the budget. */
  readonly bytesPerSecond: number;
  /** The destination becomes the request's home at the commit. */
  readonly takesHome: boolean;
}

export type MoveState = "planned" | "leased" | "copied" | "verified" | "committed";

/** A move as it is found, by the process that began it or by a later one. */
export interface MoveRecord extends Move {
  readonly state: MoveState;
  /** Since it was planned. */
  readonly ageMs: number;
  readonly cancelled: boolean;
}

export interface MoveStep {
  /**
   * The last four end the move. `free`: the source lets its pages go. `release`: the destination gives the leased
   * pages back. `discard`: the request is over, both give back all that they hold of it. `forget`: nothing is left.
   */
  readonly action: "lease" | "copy" | "verify" | "commit" | "free" | "release" | "discard" | "forget";
  readonly why: string;
}

const onward = { planned: "lease", leased: "copy", copied: "verify", verified: "commit" } as const;

/** The next step only; played until one that ends the move. */
export function planMoveStep(record: MoveRecord, pool: PoolSnapshot, policy: RebalancePolicy): MoveStep {
  const request = pool.requests.find((one) => one.requestId === record.requestId);
  const source = living(pool, record.from, record.fromIncarnation);
  const destination = living(pool, record.to, record.toIncarnation);
  if (request === undefined) return { action: "discard", why: `request ${record.requestId} is over` };
  if (isCommitted(record, request)) {
    if (source === undefined) return { action: "forget", why: `committed, and ${record.from} is gone` };
    return { action: "free", why: `committed in epoch ${String(request.epoch)}` };
  }
  const obstacle = whyUndo(record, { request, source, policy });
  if (destination === undefined) return { action: "forget", why: `destination ${record.to} is gone` };
  if (obstacle !== undefined) return { action: "release", why: obstacle };
  // A record that claims a commit which the map denies has been verified at least.
  const state = record.state === "committed" ? "verified" : record.state;
  return { action: onward[state], why: `it is ${state}` };
}

export function isCommitted(move: Move, request: RequestFacts): boolean {
  if (request.epoch <= move.epoch) return false;
  if (move.takesHome && request.home !== move.to) return false;
  for (let page = move.firstPage; page < move.firstPage + move.pages; page++) {
    if (holderOf(request, page) !== move.to) return false;
  }
  return true;
}

interface Circumstances {
  readonly request: RequestFacts;
  readonly source: RankFacts | undefined;
  readonly policy: RebalancePolicy;
}

function whyUndo(record: MoveRecord, { request, source, policy }: Circumstances): string | undefined {
  if (request.epoch !== record.epoch)
    return `the map changed from epoch ${String(record.epoch)} to ${String(request.epoch)}`;
  if (source === undefined) return `source ${record.from} is gone`;
  if (record.cancelled) return "it was cancelled";
  if (record.ageMs > policy.moveDeadlineMs)
    return `it took longer than ${String(policy.moveDeadlineMs / 1000)} s`;
  return undefined;
}

function living(pool: PoolSnapshot, rankId: string, incarnation: string): RankFacts | undefined {
  return pool.ranks.find((rank) => rank.rankId === rankId && rank.incarnation === incarnation);
}

/** Nothing is taken back that is committed; all else ends at its next step. */
export function cancelMoves(
  moves: readonly MoveRecord[],
  of: (move: Move) => boolean,
): readonly MoveRecord[] {
  return moves.map((move) => (of(move) ? { ...move, cancelled: true } : move));
}
