/**
 * Plays rebalancing to its end: the operator looks, follows what it recorded, decides, records and orders; a model of
 * the pool carries the moves out; and faults strike between any two steps.
 */
import type { RebalanceDecision, RebalanceGoal } from "../decision.ts";
import { type Move, planFollow } from "../move.ts";
import { planRebalance } from "../plan.ts";
import type { PoolSnapshot, RebalancePolicy } from "../pool.ts";
import { PoolModel } from "./poolModel.ts";

export const tickMs = 100;
/** The operator looks so often, in ticks, at a pool in which nothing is under way. */
const quietTicks = 10;

export interface Fault {
  readonly atTick: number;
  /**
   * `forget`: the operator dies after it recorded its moves and before it ordered them. `wipe`: its records are gone.
   * The others strike the pool.
   */
  readonly kind: "forget" | "wipe" | "refuse" | "lose" | "cancel" | "end" | "remap";
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

/** The operator's records: by move, with the time since. */
type Ledger = Map<string, { readonly move: Move; readonly sinceTick: number }>;

export function play(
  start: PoolSnapshot,
  policy: RebalancePolicy,
  {
    goal = { kind: "balance" },
    faults = [],
    ticks = 3_000,
  }: { goal?: RebalanceGoal; faults?: readonly Fault[]; ticks?: number } = {},
): Played {
  const model = new PoolModel(start);
  const ledger: Ledger = new Map();
  const decisions: RebalanceDecision[] = [];
  const pools: PoolSnapshot[] = [];
  const lastFault = Math.max(0, ...faults.map((fault) => fault.atTick));
  for (let tick = 0; tick < ticks; tick++) {
    const striking = faults.filter((fault) => fault.atTick === tick);
    for (const fault of striking) strike(model, ledger, fault);
    model.refuses = striking.some((fault) => fault.kind === "refuse");
    follow(model, ledger, tick);
    const seen = withOrdered(model.pool, ledger);
    const decision = planRebalance(seen, policy, goal);
    decisions.push(decision);
    for (const move of decision.moves) {
      const moveId = `${move.moveId}~${String(tick)}`;
      ledger.set(moveId, { move: { ...move, moveId }, sinceTick: tick });
    }
    if (!striking.some((fault) => fault.kind === "forget"))
      for (const { move } of ledger.values()) model.order(move);
    model.check();
    const now = withOrdered(model.pool, ledger);
    pools.push(now);
    if (tick > lastFault && ledger.size === 0 && rests(now, policy))
      return { pool: now, decisions, pools, settledAt: tick };
    model.tick(tickMs);
    const quiet = tick > lastFault && ledger.size === 0 && now.moves.length === 0;
    for (let passed = 1; quiet && passed < quietTicks; passed++, tick++) {
      pools.push(now);
      model.tick(tickMs);
    }
  }
  return { pool: model.pool, decisions, pools, settledAt: undefined };
}

/** Nothing is under way, and no rank will take more for being older. */
function rests({ moves, ranks }: PoolSnapshot, policy: RebalancePolicy): boolean {
  const young = ranks.some((rank) => rank.ageMs < policy.slowStartMs);
  const refused = ranks.some((rank) => (rank.refusedAgeMs ?? policy.refusalMs) < policy.refusalMs);
  return moves.length === 0 && !young && !refused;
}

function follow(model: PoolModel, ledger: Ledger, tick: number): void {
  for (const [moveId, { move, sinceTick }] of [...ledger]) {
    const intent = { move, ageMs: (tick - sinceTick) * tickMs };
    const { action } = planFollow(intent, model.reportOf(moveId), model.pool, {
      orderMs: 10_000,
      wanted: true,
    });
    if (action === "order") model.order(move);
    if (action === "cancel") model.cancel(moveId);
    if (action === "release") ledger.delete(moveId);
  }
}

/** With the moves that are recorded and that the pool does not know yet. */
function withOrdered(pool: PoolSnapshot, ledger: Ledger): PoolSnapshot {
  const known = new Set(pool.moves.map((move) => move.moveId));
  const ordered = [...ledger.values()]
    .filter(({ move }) => !known.has(move.moveId))
    .map(({ move }) => ({ ...move, state: "ordered" as const }));
  return { ...pool, moves: [...pool.moves, ...ordered] };
}

function strike(model: PoolModel, ledger: Ledger, { kind, pick }: Fault): void {
  const { ranks, requests, moves } = model.pool;
  const rank = ranks[pick % ranks.length];
  const request = requests[pick % Math.max(1, requests.length)];
  if (kind === "wipe") ledger.clear();
  if (kind === "cancel") for (const move of moves) model.cancel(move.moveId);
  if (kind === "end" && request !== undefined) model.endRequests([request]);
  if (kind === "remap" && request !== undefined) model.remap(request);
  if (kind === "lose" && rank !== undefined) model.loseRank(rank);
}

/** Pages on ranks that no map names: none may be left when nothing is under way. */
export function strayPages(played: Played): number {
  const named = played.pool.requests
    .flatMap((request) => request.shards)
    .reduce((sum, shard) => sum + shard.pages, 0);
  const held = played.pool.ranks.reduce((sum, rank) => sum + rank.capacityPages - rank.freePages, 0);
  return held - named;
}
