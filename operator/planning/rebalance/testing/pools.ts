/** Pools with defaults for the tests of rebalancing, and pools of any shape for its properties. */
import fc from "fast-check";
import {
  defaultRebalancePolicy,
  type PoolSnapshot,
  type RankFacts,
  type RebalancePolicy,
  type RequestFacts,
  type Shard,
} from "../pool.ts";
import { moveRun, pagesOn } from "../shards.ts";

export interface RankShape {
  readonly rankId: string;
  readonly capacityPages?: number;
  readonly over?: Partial<RankFacts>;
}

/** `lies`: `aaab` puts pages 0 to 2 on rank a and page 3 on b. */
export function aRequest(requestId: string, lies: string, over: Partial<RequestFacts> = {}): RequestFacts {
  const shards = Array.from(lies).reduce<readonly Shard[]>(
    (map, rankId, page) =>
      moveRun([...map, { rankId, firstPage: page, pages: 1 }], { firstPage: page, pages: 1 }, rankId),
    [],
  );
  return {
    requestId,
    mapVersion: 1,
    home: lies.at(-1) ?? "",
    shards,
    writtenPages: lies.length,
    remainingTokens: 10_000,
    scanBytesPerPage: 2 ** 20,
    settled: true,
    ...over,
  };
}

/** Free pages and scans of the ranks are what the requests leave and ask. */
export function aPool(
  shapes: readonly RankShape[],
  requests: readonly RequestFacts[],
  over: Partial<PoolSnapshot> = {},
): PoolSnapshot {
  return {
    ranks: shapes.map((shape) => aRank(shape, requests)),
    requests,
    moves: [],
    pageBytes: 2 ** 20,
    stepMs: 20,
    scanBytesPerSecond: 2 ** 30,
    ...over,
  };
}

function aRank(
  { rankId, capacityPages = 100, over }: RankShape,
  requests: readonly RequestFacts[],
): RankFacts {
  const held = requests.reduce((sum, request) => sum + pagesOn(request, rankId), 0);
  return {
    rankId,
    incarnation: `${rankId}-1`,
    capacityPages,
    freePages: capacityPages - held,
    scanBytesPerStep: requests.reduce((sum, request) => sum + scanOn(request, rankId), 0),
    ageMs: 3_600_000,
    reportAgeMs: 0,
    admits: true,
    ...over,
  };
}

/** Bytes that a step reads of the request on the rank. */
export function scanOn(request: RequestFacts, rankId: string): number {
  return request.shards
    .filter((shard) => shard.rankId === rankId)
    .reduce((sum, shard) => {
      const written = Math.max(
        0,
        Math.min(shard.firstPage + shard.pages, request.writtenPages) - shard.firstPage,
      );
      return sum + written * request.scanBytesPerPage;
    }, 0);
}

export function aPolicy(over: Partial<RebalancePolicy> = {}): RebalancePolicy {
  return { ...defaultRebalancePolicy, bytesPerSecond: 512 * 2 ** 20, moveBytes: 16 * 2 ** 20, ...over };
}

const rankIds = ["a", "b", "c", "d"];

/** Two to four ranks of unequal size and age, up to twelve requests that lie anyhow, with reserved pages. */
export const anyPool: fc.Arbitrary<PoolSnapshot> = fc
  .record({
    ranks: fc.array(
      fc.record({
        spare: fc.integer({ min: 0, max: 60 }),
        ageMs: fc.constantFrom(0, 20_000, 3_600_000),
      }),
      { minLength: 2, maxLength: 4 },
    ),
    requests: fc.array(
      fc.record({
        lies: fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 30 }),
        home: fc.nat({ max: 3 }),
        reserved: fc.nat({ max: 4 }),
        remainingTokens: fc.integer({ min: 1, max: 20_000 }),
        decoding: fc.boolean(),
        settled: fc.constantFrom(true, true, true, false),
      }),
      { maxLength: 12 },
    ),
  })
  .map(({ ranks, requests }) => {
    const ids = rankIds.slice(0, ranks.length);
    const named = (index: number): string => ids[index % ids.length] ?? "a";
    const facts = requests.map((shape, index) =>
      aRequest(`r${String(index).padStart(2, "0")}`, shape.lies.map(named).join(""), {
        home: named(shape.home),
        writtenPages: Math.max(1, shape.lies.length - shape.reserved),
        remainingTokens: shape.remainingTokens,
        scanBytesPerPage: shape.decoding ? 2 ** 20 : 0,
        settled: shape.settled,
      }),
    );
    const shapes = ranks.map(({ spare, ageMs }, index) => {
      const held = facts.reduce((sum, request) => sum + pagesOn(request, named(index)), 0);
      return { rankId: named(index), capacityPages: held + spare, over: { ageMs } };
    });
    return aPool(shapes, facts);
  });
