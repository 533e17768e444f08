/**
 * Which pages to move so that no rank is slower or fuller than it need be.
 *
 *   goals   first the slowest rank's scan, which every step waits for, then the fullest rank's memory:
 *           the maximum, not the mean
 *   begin   when the maximum is `startAt` times the mean
 *   pairs   the most loaded rank gives to the least loaded one that takes; next pairs when it can't
 *
 * Every move of the plan is counted as done before the next is chosen, as are the moves under way. Pages are only
 * moved, never swapped: where a rank scans much and holds little, and another the reverse, both stay as they are.
 */
import { openSlots } from "./budget.ts";
import { bestMove, type Search } from "./candidates.ts";
import { type RebalanceDecision, shortRefusals } from "./decision.ts";
import { balanceRoom } from "./destination.ts";
import { amountOf, imbalance, type Loads, poolLoads, type Quantity, withMove } from "./load.ts";
import type { Move } from "./move.ts";
import type { PoolSnapshot, RankFacts, RebalancePolicy } from "./pool.ts";

const quantities: readonly Quantity[] = ["scan", "memory"];

export function planBalance(pool: PoolSnapshot, policy: RebalancePolicy): RebalanceDecision {
  const left = pool.ranks.flatMap((rank) => leftOut(rank, policy));
  const refusals = left.map(({ rankId, why }) => `${rankId} is left out: ${why}`);
  const loads = without(
    poolLoads(pool, policy),
    left.map(({ rankId }) => rankId),
  );
  if (loads.size < 2) {
    const choice = "fewer than two ranks can be balanced against each other";
    return { reason: "TooFewRanks", moves: [], choice, refusals };
  }
  const uneven = quantities.filter((quantity) => isUneven(loads, quantity, policy));
  if (uneven.length === 0)
    return { reason: "Balanced", moves: [], choice: `${describe(loads)}: even enough`, refusals };
  if (pool.stepMs === 0 || pool.scanBytesPerSecond === 0) {
    const choice = `${describe(loads)}; no decode step was measured yet, so that no gain is known`;
    return { reason: "NotMeasured", moves: [], choice, refusals };
  }
  const slots = openSlots(pool, policy);
  if (slots < 1) {
    const choice = `${String(pool.moves.length)} moves are under way, which is the budget`;
    return { reason: "BudgetSpent", moves: [], choice, refusals };
  }
  const search = { pool, policy, moving: new Set(pool.moves.map((move) => move.requestId)) };
  const plan = uneven.reduce<Draft>((draft, quantity) => fill(search, draft, { quantity, slots }), {
    loads,
    moves: [],
    refusals,
  });
  return concluded(loads, plan);
}

interface Draft {
  readonly loads: Loads;
  readonly moves: readonly Move[];
  readonly refusals: readonly string[];
}

interface Turn {
  readonly quantity: Quantity;
  readonly slots: number;
}

/** Adds moves for one quantity until it is even enough, none helps, or the budget is spent. */
function fill(search: Search, draft: Draft, { quantity, slots }: Turn): Draft {
  let { loads, moves, refusals } = draft;
  const moving = new Set([...search.moving, ...moves.map((move) => move.requestId)]);
  while (moves.length < slots && isUneven(loads, quantity, search.policy)) {
    const found = nextMove({ ...search, moving }, loads, quantity);
    refusals = [...refusals, ...found.refusals];
    const request = search.pool.requests.find((one) => one.requestId === found.best?.requestId);
    if (found.best === undefined || request === undefined) break;
    moves = [...moves, found.best];
    moving.add(found.best.requestId);
    loads = withMove(loads, found.best, { request, leased: false });
  }
  return { loads, moves, refusals };
}

function nextMove(search: Search, loads: Loads, quantity: Quantity): ReturnType<typeof bestMove> {
  const all = [...loads.values()];
  const mean = all.reduce((sum, load) => sum + amountOf(load, quantity), 0) / all.length;
  const heaviest = [...all].sort((a, b) => amountOf(b, quantity) - amountOf(a, quantity));
  const refusals: string[] = [];
  for (const from of heaviest.filter((load) => amountOf(load, quantity) > mean * search.policy.startAt)) {
    for (const to of [...heaviest].reverse().filter((load) => amountOf(load, quantity) < mean)) {
      const room = balanceRoom(to, search.policy);
      if (room.refusal !== undefined) {
        refusals.push(`${to.rank.rankId} ${room.refusal}`);
        continue;
      }
      const found = bestMove(search, { quantity, from, to, room: room.pages, all });
      refusals.push(...found.refusals);
      if (found.best !== undefined) return { best: found.best, refusals };
    }
  }
  return { best: undefined, refusals };
}

function concluded(before: Loads, { loads, moves, refusals }: Draft): RebalanceDecision {
  const short = shortRefusals(refusals);
  if (moves.length === 0) {
    const choice = `${describe(before)}; no move helps`;
    return { reason: "NoMoveHelps", moves, choice, refusals: short };
  }
  const pages = moves.reduce((sum, move) => sum + move.pages, 0);
  const choice = `${String(moves.length)} moves of ${String(pages)} pages; now ${describe(before)}; then ${describe(loads)}`;
  return { reason: "Moves", moves, choice, refusals: short };
}

function isUneven(loads: Loads, quantity: Quantity, policy: RebalancePolicy): boolean {
  return imbalance([...loads.values()], quantity) > policy.startAt - 1;
}

/** `the slowest scan is 1.52 and the fullest memory 1.40 times the mean`. */
function describe(loads: Loads): string {
  const times = (quantity: Quantity): string => (1 + imbalance([...loads.values()], quantity)).toFixed(2);
  return `the slowest scan is ${times("scan")} and the fullest memory ${times("memory")} times the mean`;
}

/** What a leaving rank holds goes without this; a rank whose report is old is not known. */
function leftOut({ rankId, reportAgeMs, admits }: RankFacts, policy: RebalancePolicy) {
  if (reportAgeMs > policy.staleMs) return [{ rankId, why: "its last report is too old" }];
  return admits ? [] : [{ rankId, why: "it drains or its node is cordoned" }];
}

function without(loads: Loads, left: readonly string[]): Loads {
  return new Map([...loads].filter(([rankId]) => !left.includes(rankId)));
}
