/** A decode pool as rebalancing sees it. Times are ages, so that equal pools give equal plans at any hour. */

/** Consecutive pages of one request that lie on one rank. */
export interface Shard {
  readonly rankId: string;
  readonly firstPage: number;
  readonly pages: number;
}

export interface RequestFacts {
  readonly requestId: string;
  /** Grows with every change of the shard map; a commit compares it. */
  readonly mapVersion: number;
  /** Rank that runs the dense layers and samples. */
  readonly home: string;
  /** In page order, without gap or overlap, from page 0 to the last reserved page. */
  readonly shards: readonly Shard[];
  /** Pages that hold KV; the last of them is the newest, which is still being written. The rest is reserved. */
  readonly writtenPages: number;
  readonly remainingTokens: number;
  /** Bytes that a step reads of each written page: all of it in dense decode, 0 while the request waits. */
  readonly scanBytesPerPage: number;
  /** False while its prompt's KV is still being pushed: its pages must not move under the push. */
  readonly settled: boolean;
}

export interface RankFacts {
  readonly rankId: string;
  readonly incarnation: string;
  readonly capacityPages: number;
  /** Neither held by a request nor leased to a move. */
  readonly freePages: number;
  readonly scanBytesPerStep: number;
  /** Since the incarnation joined the pool. */
  readonly ageMs: number;
  /** Since its last report. */
  readonly reportAgeMs: number;
  /** False while it drains or its node is cordoned. */
  readonly admits: boolean;
  /** Since it last refused a move; undefined: never. */
  readonly refusedAgeMs?: number | undefined;
}

/** Pages of one request, from one rank to another. */
export interface PageMove {
  readonly moveId: string;
  readonly requestId: string;
  readonly from: string;
  readonly to: string;
  readonly firstPage: number;
  /** 0 when only the home moves. */
  readonly pages: number;
  /** Its share of the budget; 0: it is held to none. */
  readonly bytesPerSecond: number;
}

/** A move that was begun and is not over, whoever began it. */
export interface MoveUnderWay extends PageMove {
  /** `ordered`: recorded, and the pool does not know it yet. `copying`: the destination has set room aside. */
  readonly state: "ordered" | "copying";
}

export interface PoolSnapshot {
  readonly ranks: readonly RankFacts[];
  readonly requests: readonly RequestFacts[];
  /** Moves that were begun and are not over, whoever began them. */
  readonly moves: readonly MoveUnderWay[];
  readonly pageBytes: number;
  /** Of one decode step, measured; 0 before the first. */
  readonly stepMs: number;
  /** Rate at which a rank reads KV in a step; 0 when it is not known. */
  readonly scanBytesPerSecond: number;
}

export interface RebalancePolicy {
  /** Balancing begins when the most loaded rank has this many times the mean. */
  readonly startAt: number;
  /** Of all moves together. */
  readonly bytesPerSecond: number;
  readonly concurrentMoves: number;
  /** A move is short, so that it can be cancelled and budgets can be shared out anew. */
  readonly moveBytes: number;
  /** What a move costs beside its copy: lease, checksums, a step's stall. */
  readonly moveCostMs: number;
  /** Pages of each rank that moves never fill. */
  readonly reservePages: number;
  /** A new rank takes pages in proportion to its age until it is this old. */
  readonly slowStartMs: number;
  /** A rank that refused is left alone for this long. */
  readonly refusalMs: number;
  /** Reports older than this count for nothing. */
  readonly staleMs: number;
  /** A move that takes longer is ended by the pool. */
  readonly moveDeadlineMs: number;
}

export const defaultRebalancePolicy: RebalancePolicy = {
  startAt: 1.1,
  bytesPerSecond: 4 * 2 ** 30,
  concurrentMoves: 4,
  moveBytes: 256 * 2 ** 20,
  moveCostMs: 50,
  reservePages: 2,
  slowStartMs: 60_000,
  refusalMs: 10_000,
  staleMs: 5_000,
  moveDeadlineMs: 120_000,
};
