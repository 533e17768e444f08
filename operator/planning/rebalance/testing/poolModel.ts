/**
 * A small model of a decode pool that carries moves out as the ranks do: lease, copy in the background, commit between
 * two steps, free. It knows which bytes lie where, so that a lost or a doubled page is found.
 */
import type { Move, MoveReport } from "../move.ts";
import type { PoolSnapshot, RankFacts, RequestFacts } from "../pool.ts";
import { holderOf, moveRun } from "../shards.ts";
import { scanOn } from "./pools.ts";

interface Copying {
  readonly move: Move;
  readonly sinceMs: number;
}

export class PoolModel {
  /** Without moves: those are what the pool itself is asked for. */
  #pool: PoolSnapshot;
  /** By rank: keys of the pages that lie there, and whether their bytes do. */
  readonly #disks: Map<string, Map<string, boolean>>;
  readonly #copying = new Map<string, Copying>();
  readonly #ended = new Map<string, MoveReport>();
  #nowMs = 0;
  /** While true every order is refused. */
  refuses = false;

  constructor(pool: PoolSnapshot) {
    this.#pool = pool;
    this.#disks = layOut(pool);
  }

  get pool(): PoolSnapshot {
    return {
      ...this.#pool,
      moves: [...this.#copying.values()].map(({ move }) => ({ ...move, state: "copying" })),
    };
  }

  reportOf(moveId: string): MoveReport | undefined {
    return this.#copying.has(moveId) ? { phase: "copying", reason: "" } : this.#ended.get(moveId);
  }

  /** An order that is repeated begins nothing new. */
  order(move: Move): void {
    if (this.reportOf(move.moveId) !== undefined) return;
    const target = this.#disk(move.to);
    const rank = this.#pool.ranks.find((one) => one.rankId === move.to);
    const busy = [...this.#copying.values()].some((one) => one.move.requestId === move.requestId);
    const room = (rank?.capacityPages ?? 0) - target.size;
    if (this.refuses || busy || room < move.pages || !this.#fits(move)) {
      this.#end(move, { phase: "refused", reason: "no room" });
      if (rank !== undefined) this.#replaceRank({ ...rank, refusedAgeMs: 0 });
      return;
    }
    for (const page of pagesOf(move)) target.set(leased(move, page), false);
    this.#copying.set(move.moveId, { move, sinceMs: this.#nowMs });
    this.#report();
  }

  cancel(moveId: string): void {
    const found = this.#copying.get(moveId);
    if (found !== undefined) this.#end(found.move, { phase: "cancelled", reason: "" });
  }

  /** Commits what is copied, ends what no longer fits, and lets time pass. */
  tick(ms: number): void {
    for (const { move, sinceMs } of [...this.#copying.values()]) {
      if (!this.#fits(move)) this.#end(move, { phase: "failed", reason: "it no longer fits" });
      else if ((this.#nowMs - sinceMs) * move.bytesPerSecond >= move.bytes * 1000) this.#commit(move);
    }
    this.#nowMs += ms;
    const older = (rank: RankFacts): RankFacts => ({
      ...rank,
      ageMs: rank.ageMs + ms,
      ...(rank.refusedAgeMs === undefined ? {} : { refusedAgeMs: rank.refusedAgeMs + ms }),
    });
    this.#pool = { ...this.#pool, ranks: this.#pool.ranks.map(older) };
    this.#report();
  }

  /** It comes back empty, as another incarnation; the pool hands back what had a page there. */
  loseRank(rank: RankFacts): void {
    this.endRequests(
      this.#pool.requests.filter((one) => one.shards.some((shard) => shard.rankId === rank.rankId)),
    );
    this.#disks.set(rank.rankId, new Map());
    this.#replaceRank({ ...rank, incarnation: `${rank.incarnation}'`, ageMs: 0 });
    this.#report();
  }

  /** Whatever holds a page of it frees it, as when a request ends. */
  endRequests(ended: readonly RequestFacts[]): void {
    const ids = new Set(ended.map((one) => one.requestId));
    for (const { requestId, shards } of this.#pool.requests.filter((one) => ids.has(one.requestId))) {
      for (const { rankId, ...run } of shards)
        for (const page of pagesOf(run)) this.#disk(rankId).delete(`${requestId}/${String(page)}`);
    }
    this.#pool = { ...this.#pool, requests: this.#pool.requests.filter((one) => !ids.has(one.requestId)) };
    this.#report();
  }

  /** The request's map changes under a move, as when pages are added. */
  remap({ requestId }: RequestFacts): void {
    const request = this.#pool.requests.find((one) => one.requestId === requestId);
    if (request !== undefined) this.#replaceRequest({ ...request, mapVersion: request.mapVersion + 1 });
  }

  /** Throws unless every page that a map names is where the map says, with its bytes, and no rank is too full. */
  check(): void {
    for (const request of this.#pool.requests) {
      const pages = request.shards.reduce((sum, shard) => sum + shard.pages, 0);
      for (const page of pagesOf({ firstPage: 0, pages })) {
        const holder = holderOf(request, page);
        if (holder === undefined || this.#disk(holder).get(`${request.requestId}/${String(page)}`) !== true)
          throw new Error(`Page ${String(page)} of ${request.requestId} is lost`);
      }
    }
    for (const rank of this.#pool.ranks)
      if (rank.freePages < 0) throw new Error(`${rank.rankId} holds more than it can`);
  }

  #commit(move: Move): void {
    const [source, target] = [this.#disk(move.from), this.#disk(move.to)];
    const request = this.#pool.requests.find((one) => one.requestId === move.requestId);
    if (request === undefined) throw new Error("A commit of a request that is over");
    for (const page of pagesOf(move)) {
      const key = `${move.requestId}/${String(page)}`;
      target.delete(leased(move, page));
      target.set(key, source.get(key) ?? false);
      source.delete(key);
    }
    const shards = moveRun(request.shards, move, move.to);
    const home = move.takesHome ? move.to : request.home;
    this.#replaceRequest({ ...request, shards, home, mapVersion: request.mapVersion + 1 });
    this.#end(move, { phase: "committed", reason: "" });
  }

  #end(move: Move, report: MoveReport): void {
    this.#copying.delete(move.moveId);
    this.#ended.set(move.moveId, report);
    for (const page of pagesOf(move)) this.#disk(move.to).delete(leased(move, page));
    this.#report();
  }

  #fits(move: Move): boolean {
    const request = this.#pool.requests.find((one) => one.requestId === move.requestId);
    const lives = (rankId: string, incarnation: string): boolean =>
      this.#pool.ranks.some((one) => one.rankId === rankId && one.incarnation === incarnation);
    return (
      request?.mapVersion === move.mapVersion &&
      lives(move.from, move.fromIncarnation) &&
      lives(move.to, move.toIncarnation)
    );
  }

  #disk(rankId: string): Map<string, boolean> {
    return this.#disks.get(rankId) ?? new Map<string, boolean>();
  }

  #report(): void {
    const ranks = this.#pool.ranks.map((rank) => ({
      ...rank,
      freePages: rank.capacityPages - this.#disk(rank.rankId).size,
      scanBytesPerStep: this.#pool.requests.reduce((sum, request) => sum + scanOn(request, rank.rankId), 0),
    }));
    this.#pool = { ...this.#pool, ranks };
  }

  #replaceRank(rank: RankFacts): void {
    const ranks = this.#pool.ranks.map((one) => (one.rankId === rank.rankId ? rank : one));
    this.#pool = { ...this.#pool, ranks };
  }

  #replaceRequest(request: RequestFacts): void {
    const requests = this.#pool.requests.map((one) => (one.requestId === request.requestId ? request : one));
    this.#pool = { ...this.#pool, requests };
  }
}

function pagesOf(run: { readonly firstPage: number; readonly pages: number }): readonly number[] {
  return Array.from({ length: run.pages }, (_, index) => run.firstPage + index);
}

function leased(move: Move, page: number): string {
  return `${move.moveId}#${String(page)}`;
}

function layOut(pool: PoolSnapshot): Map<string, Map<string, boolean>> {
  const disks = new Map(pool.ranks.map((rank) => [rank.rankId, new Map<string, boolean>()]));
  for (const request of pool.requests) {
    for (const { rankId, ...run } of request.shards)
      for (const page of pagesOf(run)) disks.get(rankId)?.set(`${request.requestId}/${String(page)}`, true);
  }
  return disks;
}
