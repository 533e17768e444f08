/**
 * Plays rebalancing to its end: the planner decides, a small model of the ranks carries moves out, and faults
 * strike between any two steps. It knows which bytes lie where, so that a lost or a doubled page is found.
 */
import type { RebalanceDecision, RebalanceGoal } from "../decision.ts";
import { type MoveRecord, type MoveState, type MoveStep, planMoveStep } from "../move.ts";
import { planRebalance } from "../plan.ts";
import type { PoolSnapshot, RankFacts, RebalancePolicy, RequestFacts } from "../pool.ts";
import { holderOf, moveRun } from "../shards.ts";
import { scanOn } from "./pools.ts";

export const tickMs = 100;

export interface Fault {
  readonly atTick: number;
  /** `forget`: the step is carried out and the operator dies before it notes it. */
  readonly kind: "forget" | "refuse" | "lose" | "cancel" | "end" | "remap";
  /** Picks the rank or the request that it strikes. */
  readonly pick: number;
}

export interface Played {
  readonly pool: PoolSnapshot;
  readonly decisions: readonly RebalanceDecision[];
  /** After each tick. */
  readonly pools: readonly PoolSnapshot[];
  /** The tick after which nothing was begun and nothing was under way; undefined when it never came. */
  readonly settledAt: number | undefined;
}

interface State {
  pool: PoolSnapshot;
  /** Keys of the pages that lie on each rank, and whether their bytes are there. */
  readonly disks: Map<string, Map<string, boolean>>;
  /** When each copy began. */
  readonly copying: Map<string, number>;
  now: number;
}

export function play(
  start: PoolSnapshot,
  policy: RebalancePolicy,
  {
    goal = { kind: "balance" },
    faults = [],
    ticks = 3_000,
  }: { goal?: RebalanceGoal; faults?: readonly Fault[]; ticks?: number } = {},
): Played {
  const state: State = { pool: start, disks: layOut(start), copying: new Map(), now: 0 };
  const decisions: RebalanceDecision[] = [];
  const pools: PoolSnapshot[] = [];
  const lastFault = Math.max(0, ...faults.map((fault) => fault.atTick));
  for (let tick = 0; tick < ticks; tick++) {
    const striking = faults.filter((fault) => fault.atTick === tick);
    for (const fault of striking) strike(state, fault);
    const forgets = striking.some((fault) => fault.kind === "forget");
    const refuses = striking.some((fault) => fault.kind === "refuse");
    for (const record of state.pool.moves) {
      carryOut(state, record, { step: planMoveStep(record, state.pool, policy), forgets, refuses });
    }
    const decision = planRebalance(state.pool, policy, goal);
    decisions.push(decision);
    const begun = decision.moves.map((move): MoveRecord => ({
      ...move,
      state: "planned",
      ageMs: 0,
      cancelled: false,
    }));
    state.pool = { ...state.pool, moves: [...state.pool.moves, ...begun] };
    checkPool(state);
    pools.push(state.pool);
    // A new rank takes more when it is older: only then is there nothing left to begin.
    const young = state.pool.ranks.some((rank) => rank.ageMs < policy.slowStartMs);
    const refused = state.pool.ranks.some(
      (rank) => (rank.refusedAgeMs ?? policy.refusalMs) < policy.refusalMs,
    );
    if (tick > lastFault && state.pool.moves.length === 0 && !young && !refused)
      return { pool: state.pool, decisions, pools, settledAt: tick };
    advance(state);
  }
  return { pool: state.pool, decisions, pools, settledAt: undefined };
}

function advance(state: State): void {
  state.now += tickMs;
  const older = (rank: RankFacts): RankFacts => ({
    ...rank,
    ageMs: rank.ageMs + tickMs,
    ...(rank.refusedAgeMs === undefined ? {} : { refusedAgeMs: rank.refusedAgeMs + tickMs }),
  });
  const moves = state.pool.moves.map((move) => ({ ...move, ageMs: move.ageMs + tickMs }));
  state.pool = { ...state.pool, ranks: state.pool.ranks.map(older), moves };
}

function strike(state: State, { kind, pick }: Fault): void {
  const rank = state.pool.ranks[pick % state.pool.ranks.length];
  const request = state.pool.requests[pick % Math.max(1, state.pool.requests.length)];
  if (kind === "cancel") {
    state.pool = { ...state.pool, moves: state.pool.moves.map((move) => ({ ...move, cancelled: true })) };
  }
  if (kind === "end" && request !== undefined) endRequests(state, [request]);
  if (kind === "remap" && request !== undefined)
    replaceRequest(state, { ...request, epoch: request.epoch + 1 });
  if (kind === "lose" && rank !== undefined) {
    // It comes back empty, as another incarnation; the pool hands back what had a page there.
    endRequests(
      state,
      state.pool.requests.filter((one) => one.shards.some((shard) => shard.rankId === rank.rankId)),
    );
    state.disks.set(rank.rankId, new Map());
    replaceRank(state, { ...rank, incarnation: `${rank.incarnation}'`, ageMs: 0 });
  }
  report(state);
}

interface Turn {
  readonly step: MoveStep;
  readonly forgets: boolean;
  readonly refuses: boolean;
}

function carryOut(state: State, record: MoveRecord, { step, forgets, refuses }: Turn): void {
  const after = act(state, record, { step, refuses });
  report(state);
  if (after === "over")
    state.pool = { ...state.pool, moves: state.pool.moves.filter((one) => one.moveId !== record.moveId) };
  else if (!forgets) {
    const moves = state.pool.moves.map((one) =>
      one.moveId === record.moveId ? { ...one, state: after } : one,
    );
    state.pool = { ...state.pool, moves };
  }
}

function act(state: State, record: MoveRecord, { step, refuses }: Omit<Turn, "forgets">): MoveState | "over" {
  const source = disk(state, record.from);
  const target = disk(state, record.to);
  const pages = Array.from({ length: record.pages }, (_, index) => record.firstPage + index);
  const leased = (page: number): string => `${record.moveId}#${String(page)}`;
  const owned = (page: number): string => `${record.requestId}/${String(page)}`;
  const rank = state.pool.ranks.find((one) => one.rankId === record.to);
  switch (step.action) {
    case "lease": {
      const room = (rank?.capacityPages ?? 0) - target.size;
      if (rank !== undefined && (refuses || room < pages.length) && !target.has(leased(record.firstPage))) {
        replaceRank(state, { ...rank, refusedAgeMs: 0 });
        return "over";
      }
      for (const page of pages) target.set(leased(page), false);
      return "leased";
    }
    case "copy": {
      const began = state.copying.get(record.moveId) ?? state.now;
      state.copying.set(record.moveId, began);
      if ((state.now - began) * record.bytesPerSecond < record.bytes * 1000) return "leased";
      for (const page of pages) target.set(leased(page), source.has(owned(page)));
      return "copied";
    }
    case "verify":
      if (!pages.every((page) => target.get(leased(page)) === true)) throw new Error("A copy lacks bytes");
      return "verified";
    case "commit": {
      const request = state.pool.requests.find((one) => one.requestId === record.requestId);
      if (request?.epoch !== record.epoch) return "verified";
      for (const page of pages) {
        target.delete(leased(page));
        target.set(owned(page), true);
      }
      const shards = moveRun(request.shards, record, record.to);
      const home = record.takesHome ? record.to : request.home;
      replaceRequest(state, { ...request, shards, home, epoch: request.epoch + 1 });
      return "committed";
    }
    case "free":
      for (const page of pages) source.delete(owned(page));
      return "over";
    case "release":
      for (const page of pages) target.delete(leased(page));
      return "over";
    case "discard":
      for (const one of [source, target]) {
        for (const key of [...one.keys()]) {
          if (key.startsWith(`${record.requestId}/`) || key.startsWith(`${record.moveId}#`)) one.delete(key);
        }
      }
      return "over";
    case "forget":
      return "over";
  }
}

/** Every page that a map names is where the map says, with its bytes; no rank holds more than it can. */
function checkPool({ pool, disks }: State): void {
  for (const request of pool.requests) {
    const pages = request.shards.reduce((sum, shard) => sum + shard.pages, 0);
    for (let page = 0; page < pages; page++) {
      const holder = holderOf(request, page);
      if (holder === undefined || disks.get(holder)?.get(`${request.requestId}/${String(page)}`) !== true)
        throw new Error(`Page ${String(page)} of ${request.requestId} is lost`);
    }
  }
  for (const rank of pool.ranks) {
    if (rank.freePages < 0) throw new Error(`${rank.rankId} holds more than it can`);
  }
}

/** Pages on ranks that no map names: none may be left when nothing is under way. */
export function strayPages(played: Played): number {
  const named = played.pool.requests
    .flatMap((request) => request.shards)
    .reduce((sum, shard) => sum + shard.pages, 0);
  const held = played.pool.ranks.reduce((sum, rank) => sum + rank.capacityPages - rank.freePages, 0);
  return held - named;
}

function layOut(pool: PoolSnapshot): Map<string, Map<string, boolean>> {
  const disks = new Map(pool.ranks.map((rank) => [rank.rankId, new Map<string, boolean>()]));
  for (const request of pool.requests) {
    for (const { rankId, firstPage, pages } of request.shards) {
      for (let page = firstPage; page < firstPage + pages; page++) {
        disks.get(rankId)?.set(`${request.requestId}/${String(page)}`, true);
      }
    }
  }
  return disks;
}

function disk(state: State, rankId: string): Map<string, boolean> {
  return state.disks.get(rankId) ?? new Map<string, boolean>();
}

/** The holders that its map names free what they hold of it, as the pool does when a request ends. */
function endRequests(state: State, ended: readonly RequestFacts[]): void {
  for (const request of ended) {
    for (const { rankId, firstPage, pages } of request.shards) {
      for (let page = firstPage; page < firstPage + pages; page++) {
        disk(state, rankId).delete(`${request.requestId}/${String(page)}`);
      }
    }
  }
  state.pool = { ...state.pool, requests: state.pool.requests.filter((one) => !ended.includes(one)) };
}

function report(state: State): void {
  const ranks = state.pool.ranks.map((rank) => ({
    ...rank,
    freePages: rank.capacityPages - disk(state, rank.rankId).size,
    scanBytesPerStep: state.pool.requests.reduce((sum, request) => sum + scanOn(request, rank.rankId), 0),
  }));
  state.pool = { ...state.pool, ranks };
}

function replaceRank(state: State, rank: RankFacts): void {
  const ranks = state.pool.ranks.map((one) => (one.rankId === rank.rankId ? rank : one));
  state.pool = { ...state.pool, ranks };
}

function replaceRequest(state: State, request: RequestFacts): void {
  const requests = state.pool.requests.map((one) => (one.requestId === request.requestId ? request : one));
  state.pool = { ...state.pool, requests };
}
