/** What moves may cost together: so many at once, so many bytes per second. */
import type { Move } from "./move.ts";
import type { PoolSnapshot, RankFacts, RebalancePolicy, RequestFacts } from "./pool.ts";
import { type PageRun, writtenIn } from "./shards.ts";

/** Moves that may begin now. Those under way keep the rate they were begun with, whatever the policy was then. */
export function openSlots(pool: PoolSnapshot, policy: RebalancePolicy): number {
  const spent = pool.moves.reduce((sum, move) => sum + move.bytesPerSecond, 0);
  const byRate = Math.floor((policy.bytesPerSecond - spent) / rateOf(policy));
  return Math.max(0, Math.min(policy.concurrentMoves - pool.moves.length, byRate));
}

/** Bytes per second of one move: an equal share, whole, so that as many shares as there are moves are never more than the budget. */
export function rateOf(policy: RebalancePolicy): number {
  return Math.floor(policy.bytesPerSecond / policy.concurrentMoves);
}

/** Written pages that one move carries at most; at least one, however large pages are. */
export function pagesPerMove(pool: PoolSnapshot, policy: RebalancePolicy): number {
  return Math.max(1, Math.floor(policy.moveBytes / pool.pageBytes));
}

export function copyMs(bytes: number, policy: RebalancePolicy): number {
  return (bytes / rateOf(policy)) * 1000;
}

interface MoveDesign {
  readonly request: RequestFacts;
  readonly from: RankFacts;
  readonly to: RankFacts;
  readonly run: PageRun;
  readonly takesHome?: boolean;
}

export function newMove(
  pool: PoolSnapshot,
  policy: RebalancePolicy,
  { request, from, to, run, takesHome = false }: MoveDesign,
): Move {
  return {
    moveId: moveIdOf(request, run, to),
    requestId: request.requestId,
    mapVersion: request.mapVersion,
    from: from.rankId,
    fromIncarnation: from.incarnation,
    to: to.rankId,
    toIncarnation: to.incarnation,
    firstPage: run.firstPage,
    pages: run.pages,
    bytes: writtenIn(request, run) * pool.pageBytes,
    bytesPerSecond: rateOf(policy),
    takesHome,
  };
}

/**
 * Equal for equal moves: to order it again is to ask for the same one. At most 128 characters, whatever the length of
 * the names; a cut request name is told apart by its map's version and the pages.
 */
function moveIdOf(request: RequestFacts, run: PageRun, to: RankFacts): string {
  const ordinal = to.rankId.slice(to.rankId.lastIndexOf("-") + 1);
  const pages = `${String(run.firstPage)}+${String(run.pages)}`;
  return `${request.requestId.slice(0, 64)}@${String(request.mapVersion)}/${pages}/${ordinal.slice(-24)}`;
}
