/** The KV of a decode pool, played by the test: the planner's model of a pool behind the messages of the control API. */
import type { RankRef } from "../../../runtime/wire/schema/identity.ts";
import type { MoveOrder, MoveState, PoolInventory } from "../../../runtime/wire/schema/move.ts";
import type { Move } from "../../planning/rebalance/move.ts";
import { PoolModel } from "../../planning/rebalance/testing/poolModel.ts";
import { aPool, aRequest } from "../../planning/rebalance/testing/pools.ts";

const pageBytes = 2 ** 20;

export class FakePool {
  readonly #model: PoolModel;
  readonly #orders = new Map<string, MoveOrder>();
  /** Highest fence that was heard. */
  fence = 0;
  /** Ranks that drain. */
  readonly closed = new Set<string>();
  /** While true, moves copy and never commit. */
  holds = false;

  /** `lies`: by request, a letter a page: `aab` puts two pages on the first rank and one on the second. */
  constructor(ranks: readonly RankRef[], lies: Readonly<Record<string, string>>) {
    const names = new Map(ranks.map((rank, index) => ["abcdef".charAt(index), rank]));
    const shapes = ranks.map((rank) => ({
      rankId: rank.rankId,
      over: { incarnation: rank.incarnation },
    }));
    const requests = Object.entries(lies).map(([requestId, letters]) => {
      const shards = Array.from(letters).map((letter, page) => ({
        rankId: names.get(letter)?.rankId ?? "",
        firstPage: page,
        pages: 1,
      }));
      return { ...aRequest(requestId, letters), shards, home: shards.at(-1)?.rankId ?? "" };
    });
    this.#model = new PoolModel(aPool(shapes, requests));
  }

  heldPages(rankId: string): number {
    const rank = this.#model.pool.ranks.find((one) => one.rankId === rankId);
    return rank === undefined ? 0 : rank.capacityPages - rank.freePages;
  }

  /** Every move that was ordered, and how it ended. */
  get moves(): readonly MoveState[] {
    return [...this.#orders.values()].map((order) => this.#stateOf(order));
  }

  tick(ms: number): void {
    if (!this.holds) this.#model.tick(ms);
    this.#model.check();
    this.#emptyClosed();
  }

  order(order: MoveOrder): MoveState {
    this.fence = Math.max(this.fence, order.fence);
    if (!this.#orders.has(order.moveId)) this.#orders.set(order.moveId, order);
    this.#model.order(moveOf(order));
    return this.#stateOf(order);
  }

  cancel(moveId: string): MoveState | undefined {
    const order = this.#orders.get(moveId);
    if (order === undefined) return undefined;
    this.#model.cancel(moveId);
    return this.#stateOf(order);
  }

  inventory(group: string, coordinator: RankRef): PoolInventory {
    const { pool } = this.#model;
    return {
      ...{ group, epoch: 1, coordinator, pageTokens: 64, pageBytes },
      ...{ stepMs: pool.stepMs, scanBytesPerSecond: pool.scanBytesPerSecond },
      ranks: pool.ranks.map((rank) => ({
        ...{ rankId: rank.rankId, incarnation: rank.incarnation, ageMs: rank.ageMs },
        ...{ pagesTotal: rank.capacityPages, pagesFree: rank.freePages },
        scanBytesPerStep: rank.scanBytesPerStep,
        draining: this.closed.has(rank.rankId),
      })),
      requests: pool.requests.map((request) => ({
        ...{ requestId: request.requestId, home: request.home, mapVersion: request.mapVersion },
        ...{ promptTokens: 64, writtenPages: request.writtenPages, settled: request.settled },
        ...{ remainingTokens: request.remainingTokens, decoding: true, shards: [...request.shards] },
      })),
      moves: [...this.moves],
    };
  }

  #stateOf(order: MoveOrder): MoveState {
    const report = this.#model.reportOf(order.moveId) ?? { phase: "refused", reason: "unknown" };
    const { moveId, requestId, from, to, firstPage, pages, takesHome, bytesPerSecond, mapVersion } = order;
    return {
      ...{ moveId, requestId, from, to, firstPage, pages, takesHome, bytesPerSecond, mapVersion },
      ...{ ...report, copiedBytes: 0, totalBytes: pages * pageBytes, ageMs: 0, stallMs: 1 },
    };
  }

  /** The coordinator empties leaving ranks by itself: here at once, a run after the other. */
  #emptyClosed(): void {
    for (const request of this.#model.pool.requests) {
      const shard = request.shards.find((one) => this.closed.has(one.rankId));
      const target = this.#model.pool.ranks.find((rank) => !this.closed.has(rank.rankId));
      const source = this.#model.pool.ranks.find((rank) => rank.rankId === shard?.rankId);
      if (shard === undefined || source === undefined || target === undefined || this.holds) continue;
      this.#model.order({
        moveId: `drain-${request.requestId}-${String(request.mapVersion)}`,
        ...{ requestId: request.requestId, mapVersion: request.mapVersion },
        ...{ from: source.rankId, fromIncarnation: source.incarnation },
        ...{ to: target.rankId, toIncarnation: target.incarnation },
        ...{ firstPage: shard.firstPage, pages: shard.pages },
        ...{ bytes: 0, bytesPerSecond: 0, takesHome: request.home === source.rankId },
      });
    }
  }
}

function moveOf({ fence: _, deadlineMs: __, ...order }: MoveOrder): Move {
  return { ...order, bytes: order.pages * pageBytes };
}
