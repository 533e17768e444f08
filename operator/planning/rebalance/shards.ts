/** Arithmetic of shard maps: which pages lie where, and the map after a move. */
import type { RequestFacts, Shard } from "./pool.ts";

/** Pages `first` to `first + pages - 1` of a request. */
export interface PageRun {
  readonly firstPage: number;
  readonly pages: number;
}

/** The page that the next token is written to; -1 when nothing is written. */
export function newestPage(request: RequestFacts): number {
  return request.writtenPages - 1;
}

export function holderOf(request: RequestFacts, page: number): string | undefined {
  return request.shards.find((one) => one.firstPage <= page && page < one.firstPage + one.pages)?.rankId;
}

export function pagesOn(request: RequestFacts, rankId: string): number {
  return request.shards.reduce((sum, one) => sum + (one.rankId === rankId ? one.pages : 0), 0);
}

/** Pages of the run that hold KV: only these are copied and scanned. */
export function writtenIn(request: RequestFacts, run: PageRun): number {
  return Math.max(0, Math.min(run.firstPage + run.pages, request.writtenPages) - run.firstPage);
}

/** Runs on a rank that may move while the request goes on: all but the newest page; oldest first. */
export function coldRuns(request: RequestFacts, rankId: string): readonly PageRun[] {
  const newest = newestPage(request);
  return request.shards
    .filter((one) => one.rankId === rankId)
    .flatMap((one) => {
      const end = one.firstPage + one.pages;
      if (newest < one.firstPage || newest >= end) return [{ firstPage: one.firstPage, pages: one.pages }];
      return [
        { firstPage: one.firstPage, pages: newest - one.firstPage },
        { firstPage: newest + 1, pages: end - newest - 1 },
      ];
    })
    .flatMap((run) => splitAt(run, request.writtenPages))
    .filter((run) => run.pages > 0);
}

/** So that a run is either all written or all reserved. */
function splitAt(run: PageRun, page: number): readonly PageRun[] {
  const before = Math.max(0, Math.min(run.pages, page - run.firstPage));
  return [
    { firstPage: run.firstPage, pages: before },
    { firstPage: run.firstPage + before, pages: run.pages - before },
  ];
}

/** The map after the run has gone to a rank; neighbours on one rank become one shard. */
export function moveRun(shards: readonly Shard[], run: PageRun, to: string): readonly Shard[] {
  const end = run.firstPage + run.pages;
  const pieces = shards.flatMap((shard) => {
    const shardEnd = shard.firstPage + shard.pages;
    const from = Math.max(shard.firstPage, run.firstPage);
    const until = Math.min(shardEnd, end);
    if (from >= until) return [shard];
    return [
      { ...shard, pages: from - shard.firstPage },
      { rankId: to, firstPage: from, pages: until - from },
      { ...shard, firstPage: until, pages: shardEnd - until },
    ];
  });
  return merged(pieces.filter((piece) => piece.pages > 0));
}

function merged(pieces: readonly Shard[]): readonly Shard[] {
  const whole: Shard[] = [];
  for (const piece of pieces) {
    const last = whole.at(-1);
    if (last?.rankId === piece.rankId) whole[whole.length - 1] = { ...last, pages: last.pages + piece.pages };
    else whole.push(piece);
  }
  return whole;
}
