/**
 * What each rank carries once the moves under way are over: planning on what is on its way keeps two plans in a
 * row from sending the same load twice.
 */
import type { PageMove, PoolSnapshot, RankFacts, RebalancePolicy, RequestFacts } from "./pool.ts";
import { writtenIn } from "./shards.ts";

export type Quantity = "scan" | "memory";

export interface RankLoad {
  readonly rank: RankFacts;
  readonly heldPages: number;
  readonly scanBytes: number;
  /** Free now and not promised to a move: pages that a source has yet to free are no room. */
  readonly roomPages: number;
  /** Moves on their way to it. */
  readonly incoming: number;
}

/** By rankId. */
export type Loads = ReadonlyMap<string, RankLoad>;

export function poolLoads(pool: PoolSnapshot, policy: RebalancePolicy): Loads {
  let loads: Loads = new Map(
    byId(pool.ranks).map((rank) => [
      rank.rankId,
      {
        rank,
        heldPages: rank.capacityPages - rank.freePages,
        scanBytes: rank.scanBytesPerStep,
        roomPages: Math.max(0, rank.freePages - policy.reservePages),
        incoming: 0,
      },
    ]),
  );
  for (const move of pool.moves) {
    const request = pool.requests.find((one) => one.requestId === move.requestId);
    if (request === undefined) continue;
    loads = withMove(loads, move, { request, leased: move.state === "copying" });
  }
  return loads;
}

interface Progress {
  readonly request: RequestFacts;
  /** The destination's free pages are counted without it already. */
  readonly leased: boolean;
}

/** The loads after one more move. */
export function withMove(loads: Loads, move: PageMove, { request, leased }: Progress): Loads {
  const bytes = writtenIn(request, move) * request.scanBytesPerPage;
  const arriving = leased ? 0 : move.pages;
  const after = new Map(loads);
  const from = loads.get(move.from);
  const to = loads.get(move.to);
  if (from !== undefined) {
    const heldPages = from.heldPages - move.pages;
    after.set(move.from, { ...from, heldPages, scanBytes: from.scanBytes - bytes });
  }
  if (to !== undefined) {
    after.set(move.to, {
      ...to,
      heldPages: to.heldPages + arriving,
      scanBytes: to.scanBytes + bytes,
      roomPages: Math.max(0, to.roomPages - arriving),
      incoming: to.incoming + 1,
    });
  }
  return after;
}

/** Bytes of a step, or the share of memory that is held. */
export function amountOf(load: RankLoad, quantity: Quantity): number {
  return quantity === "scan" ? load.scanBytes : load.heldPages / Math.max(1, load.rank.capacityPages);
}

export function maximum(loads: readonly RankLoad[], quantity: Quantity): number {
  return Math.max(0, ...loads.map((load) => amountOf(load, quantity)));
}

/** max / mean - 1; 0 when nothing is loaded. */
export function imbalance(loads: readonly RankLoad[], quantity: Quantity): number {
  const sum = loads.reduce((total, load) => total + amountOf(load, quantity), 0);
  return sum <= 0 ? 0 : (maximum(loads, quantity) * loads.length) / sum - 1;
}

/** Sorted, so that the order in which facts arrive decides nothing. */
export function byId<T extends { readonly rankId: string }>(list: readonly T[]): readonly T[] {
  return [...list].sort((a, b) => (a.rankId < b.rankId ? -1 : 1));
}
