/**
 * Empties one rank: scale-in, a cordoned node and a rollout are the same mechanism as balancing with another goal.
 *
 *   feasible  the other ranks have room for all that the rank holds; else nothing is begun and the sentence says
 *             how many pages have no place
 *   moves     every run on the rank, the newest page included, to the rank that is least full after it; the
 *             newest page goes to the request's home where there is room, and takes the home along when the home
 *             is the rank itself
 *
 * A drain must end, so that neither payback nor slow start nor overshoot hold it up; budgets and refusals do.
 */
import { newMove, openSlots, pagesPerMove } from "./budget.ts";
import { type RebalanceDecision, type RebalanceReason, shortRefusals } from "./decision.ts";
import { drainRoom } from "./destination.ts";
import { amountOf, type Loads, poolLoads, type RankLoad, withMove } from "./load.ts";
import type { Move } from "./move.ts";
import type { PoolSnapshot, RebalancePolicy, RequestFacts } from "./pool.ts";
import { holderOf, newestPage, type PageRun, pagesOn, writtenIn } from "./shards.ts";

export function planDrain(
  pool: PoolSnapshot,
  policy: RebalancePolicy,
  { rankId }: { readonly rankId: string },
): RebalanceDecision {
  const none = (reason: RebalanceReason, choice: string, refusals: readonly string[] = []) =>
    ({ reason, moves: [], choice, refusals }) satisfies RebalanceDecision;
  const loads = poolLoads(pool, policy);
  const rank = loads.get(rankId);
  if (rank === undefined) return none("UnknownRank", `the pool has no rank ${rankId}`);
  const held = pool.requests.filter((one) => pagesOn(one, rankId) > 0 || one.home === rankId);
  const busy = pool.moves.filter((move) => move.from === rankId || move.to === rankId);
  if (held.length === 0 && busy.length === 0) return none("Drained", `${rankId} holds nothing`);

  const moving = new Set(pool.moves.map((move) => move.requestId));
  const open = held
    .filter((one) => !moving.has(one.requestId))
    .sort((a, b) => (a.requestId < b.requestId ? -1 : 1));
  const movable = open.filter((one) => one.settled);
  const waits = open.filter((one) => !one.settled).map((one) => `${one.requestId} is still being prefilled`);
  const others = [...loads.values()].filter((load) => load.rank.rankId !== rankId);
  const lacking = shortage(others, policy, { rankId, requests: open });
  if (lacking !== undefined) return none("NoRoom", lacking.choice, lacking.refusals);
  const slots = openSlots(pool, policy);
  if (slots < 1 && movable.length > 0)
    return none("BudgetSpent", `${String(pool.moves.length)} moves are under way, which is the budget`);

  const moves = firstMoves({ pool, policy, rank, requests: movable, slots }, loads);
  const left = held.reduce((sum, one) => sum + pagesOn(one, rankId), 0);
  const status = `${rankId} holds ${String(left)} pages of ${String(held.length)} requests`;
  if (moves.length === 0)
    return none("Waiting", `${status}; it waits for what is under way`, shortRefusals(waits));
  const choice = `${status}; ${String(moves.length)} moves begin`;
  return { reason: "Moves", moves, choice, refusals: shortRefusals(waits) };
}

interface DrainTurn {
  readonly pool: PoolSnapshot;
  readonly policy: RebalancePolicy;
  readonly rank: RankLoad;
  readonly requests: readonly RequestFacts[];
  readonly slots: number;
}

function firstMoves({ pool, policy, rank, requests, slots }: DrainTurn, before: Loads): readonly Move[] {
  const moves: Move[] = [];
  let loads = before;
  for (const request of requests) {
    if (moves.length >= slots) break;
    const move = firstMove({ pool, policy, rank }, request, loads);
    if (move === undefined) continue;
    moves.push(move);
    loads = withMove(loads, move, { request, leased: false });
  }
  return moves;
}

/** The request's next run to leave the rank; its next ones follow when this move is over. */
function firstMove(
  { pool, policy, rank }: Pick<DrainTurn, "pool" | "policy" | "rank">,
  request: RequestFacts,
  loads: Loads,
): Move | undefined {
  const { rankId } = rank.rank;
  const run = nextRun(request, rankId);
  const target = destinationFor(request, run, { rankId, loads, policy });
  if (target === undefined) return undefined;
  const cap = writtenIn(request, run) > 0 ? pagesPerMove(pool, policy) : run.pages;
  const pages = Math.min(run.pages, cap, drainRoom(target, policy).pages);
  const part = { firstPage: run.firstPage, pages };
  const takesHome = request.home === rankId && (run.pages === 0 || holdsNewest(request, part));
  return newMove(pool, policy, { request, from: rank.rank, to: target.rank, run: part, takesHome });
}

/** The newest page goes by itself; a request that has only its home here has a run of no pages. */
function nextRun(request: RequestFacts, rankId: string): PageRun {
  const shard = request.shards.find((one) => one.rankId === rankId);
  if (shard === undefined) return { firstPage: 0, pages: 0 };
  const newest = newestPage(request);
  const end = shard.firstPage + shard.pages;
  if (newest === shard.firstPage) return { firstPage: newest, pages: 1 };
  return {
    firstPage: shard.firstPage,
    pages: (newest > shard.firstPage ? Math.min(newest, end) : end) - shard.firstPage,
  };
}

function destinationFor(
  request: RequestFacts,
  run: PageRun,
  { rankId, loads, policy }: { rankId: string; loads: Loads; policy: RebalancePolicy },
): RankLoad | undefined {
  const needed = Math.min(1, run.pages);
  const others = [...loads.values()].filter((load) => load.rank.rankId !== rankId);
  const open = others.filter((load) =>
    needed === 0 ? load.rank.admits : drainRoom(load, policy).pages >= needed,
  );
  const wished = run.pages === 0 ? holderOf(request, newestPage(request)) : homeOf(request, run);
  const near = open.find((load) => load.rank.rankId === wished);
  const fill = (load: RankLoad): number => amountOf(load, "memory");
  return near ?? [...open].sort((a, b) => fill(a) - fill(b))[0];
}

function homeOf(request: RequestFacts, run: PageRun): string | undefined {
  return holdsNewest(request, run) ? request.home : undefined;
}

function holdsNewest(request: RequestFacts, run: PageRun): boolean {
  const newest = newestPage(request);
  return run.firstPage <= newest && newest < run.firstPage + run.pages;
}

/** Undefined when all pages of the requests on the rank have a place elsewhere. */
function shortage(
  others: readonly RankLoad[],
  policy: RebalancePolicy,
  { rankId, requests }: { rankId: string; requests: readonly RequestFacts[] },
): { choice: string; refusals: readonly string[] } | undefined {
  const needed = requests.reduce((sum, one) => sum + pagesOn(one, rankId), 0);
  const homeless = requests.filter((one) => one.home === rankId).length > 0;
  const rooms = others.map((load) => ({ rankId: load.rank.rankId, ...drainRoom(load, policy) }));
  const room = rooms.reduce((sum, one) => sum + one.pages, 0);
  const admitting = others.filter((load) => load.rank.admits).length;
  if (room >= needed && (admitting > 0 || !homeless)) return undefined;
  const each = rooms.map((one) => `${one.rankId} ${String(one.pages)}`).join(", ");
  const has =
    others.length === 0 ? "there is no other rank" : `the others have room for ${String(room)} (${each})`;
  const choice = `${String(needed)} pages on ${rankId} need a place and ${has}: ${String(Math.max(0, needed - room))} have none`;
  const refusals = rooms.flatMap((one) =>
    one.refusal === undefined ? [] : [`${one.rankId} ${one.refusal}`],
  );
  return { choice, refusals };
}
