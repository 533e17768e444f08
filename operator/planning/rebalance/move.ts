/**
 * Moves as the operator orders them. The pool carries a move out by itself: it leases room on the destination, copies
 * in the background, and commits between two steps by compare-and-set on the map's version, or ends it without a
 * trace. So the operator records what it is about to order, orders it, and follows it until the pool says how it ended.
 */
import type { PageMove, PoolSnapshot, RankFacts } from "./pool.ts";

export interface Move extends PageMove {
  /** Of the shard map that it was planned on; the commit compares it. */
  readonly mapVersion: number;
  readonly fromIncarnation: string;
  readonly toIncarnation: string;
  /** To be copied; reserved pages that hold nothing cost nothing. */
  readonly bytes: number;
  /** The destination becomes the request's home at the commit. */
  readonly takesHome: boolean;
}

/** A move that the operator recorded before it ordered it. */
export interface MoveIntent {
  readonly move: Move;
  readonly ageMs: number;
}

export type MovePhase = "copying" | "committed" | "refused" | "cancelled" | "failed";

/** What the pool says of a move; undefined: it knows none of that name. */
export interface MoveReport {
  readonly phase: MovePhase;
  readonly reason: string;
}

export interface FollowStep {
  /** `order`: tell the pool, again if need be. `release`: the move is over, or was never begun and no longer fits. */
  readonly action: "order" | "wait" | "cancel" | "release";
  readonly why: string;
}

export interface FollowPolicy {
  /** A move that the pool has not taken after so long is given up: the pool was planned for another hour. */
  readonly orderMs: number;
  /** False: moves that copy are cancelled. */
  readonly wanted: boolean;
}

/** The next step with a recorded move, for the leader that recorded it and for any later one. */
export function planFollow(
  { move, ageMs }: MoveIntent,
  report: MoveReport | undefined,
  pool: PoolSnapshot,
  policy: FollowPolicy,
): FollowStep {
  if (report !== undefined && report.phase !== "copying") {
    const why = report.reason === "" ? report.phase : `${report.phase}: ${report.reason}`;
    return { action: "release", why };
  }
  if (report !== undefined)
    return policy.wanted
      ? { action: "wait", why: "it is being copied" }
      : { action: "cancel", why: "rebalancing was switched off" };
  const obstacle = whyNot(move, pool);
  if (obstacle !== undefined) return { action: "release", why: `never begun: ${obstacle}` };
  if (!policy.wanted) return { action: "release", why: "never begun: rebalancing was switched off" };
  if (ageMs > policy.orderMs)
    return { action: "release", why: `never begun within ${String(policy.orderMs / 1000)} s` };
  return { action: "order", why: "it was recorded and not begun" };
}

/** Why the move no longer fits the pool; undefined when it does. */
export function whyNot(move: Move, pool: PoolSnapshot): string | undefined {
  const request = pool.requests.find((one) => one.requestId === move.requestId);
  if (request === undefined) return `request ${move.requestId} is over`;
  if (request.mapVersion !== move.mapVersion)
    return `the map changed from version ${String(move.mapVersion)} to ${String(request.mapVersion)}`;
  if (living(pool, move.from, move.fromIncarnation) === undefined) return `source ${move.from} is gone`;
  if (living(pool, move.to, move.toIncarnation) === undefined) return `destination ${move.to} is gone`;
  return undefined;
}

function living(pool: PoolSnapshot, rankId: string, incarnation: string): RankFacts | undefined {
  return pool.ranks.find((rank) => rank.rankId === rankId && rank.incarnation === incarnation);
}
