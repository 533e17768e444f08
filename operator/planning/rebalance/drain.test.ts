import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { emptyingBytes } from "./emptying.ts";
import { planRebalance } from "./plan.ts";
import type { PoolSnapshot } from "./pool.ts";
import { pagesOn } from "./shards.ts";
import { play, strayPages } from "./testing/play.ts";
import { anyPool, aPolicy, aPool, aRequest } from "./testing/pools.ts";

const policy = aPolicy();
const goal = { kind: "drain" as const, rankId: "a" };
const three = [{ rankId: "a", over: { admits: false } }, { rankId: "b" }, { rankId: "c" }];
const heldBy = (pool: PoolSnapshot, rankId: string): number =>
  pool.requests.reduce((sum, request) => sum + pagesOn(request, rankId), 0);

describe("draining a rank", () => {
  it("moves the newest page last, and the home with it", () => {
    const played = play(aPool(three, [aRequest("r", "aaaa")]), policy, { goal });
    const moves = played.decisions.flatMap((decision) => decision.moves);
    expect(moves).toMatchObject([
      { firstPage: 0, pages: 3, takesHome: false },
      { firstPage: 3, pages: 1, takesHome: true },
    ]);
    expect(played.pool.requests[0]?.home).toBe(moves[1]?.to);
    expect(played.decisions.at(-1)).toMatchObject({ reason: "Drained", choice: "a holds nothing" });
  });

  it("brings the newest page to the request's home where there is room", () => {
    const request = aRequest("r", "bba", { home: "c" });
    expect(planRebalance(aPool(three, [request]), policy, goal).moves).toMatchObject([
      { to: "c", firstPage: 2 },
    ]);
  });

  it("hands over a home that has no page, to the rank with the newest page", () => {
    const request = aRequest("r", "bbc", { home: "a" });
    const played = play(aPool(three, [request]), policy, { goal });
    expect(played.pool.requests[0]?.home).toBe("c");
    expect(played.decisions.at(-1)?.reason).toBe("Drained");
  });

  it("begins nothing when the others lack room, and counts what has no place", () => {
    const ranks = [
      { rankId: "a" },
      { rankId: "b", capacityPages: 6 },
      { rankId: "c", over: { admits: false } },
    ];
    const decision = planRebalance(aPool(ranks, [aRequest("r", "aaaaaaaaaab")]), policy, goal);
    expect(decision).toMatchObject({
      reason: "NoRoom",
      moves: [],
      choice: "10 pages on a need a place and the others have room for 3 (b 3, c 0): 7 have none",
      refusals: ["c admits nothing: it drains or its node is cordoned"],
    });
  });

  it("waits for prompts that are being pushed, and says which", () => {
    const pool = aPool(three, [aRequest("r", "aaa", { settled: false })]);
    expect(planRebalance(pool, policy, goal)).toMatchObject({
      reason: "Waiting",
      refusals: ["r is still being prefilled"],
    });
  });

  it("knows only the ranks of the pool", () => {
    const decision = planRebalance(aPool(three, []), policy, { kind: "drain", rankId: "z" });
    expect(decision).toMatchObject({ reason: "UnknownRank", choice: "the pool has no rank z" });
  });

  it("empties any rank, or says why not, and loses no page on the way", () => {
    fc.assert(
      fc.property(anyPool, (pool) => {
        const played = play(pool, policy, { goal });
        const last = played.decisions.at(-1);
        expect(strayPages(played)).toBe(0);
        if (last?.reason === "Drained") {
          expect(heldBy(played.pool, "a")).toBe(0);
          expect(played.pool.requests.filter((request) => request.home === "a")).toEqual([]);
        } else if (last?.reason === "NoRoom") {
          expect(last.choice).toMatch(/^\d+ pages on a need a place/);
          const room = pool.ranks.filter((rank) => rank.rankId !== "a").map((rank) => rank.freePages);
          const usable = room.reduce((sum, free) => sum + Math.max(0, free - policy.reservePages), 0);
          expect(usable).toBeLessThan(heldBy(pool, "a"));
        } else {
          expect(last?.reason).toBe("Waiting");
          expect(pool.requests.some((request) => !request.settled)).toBe(true);
          expect(last?.refusals).not.toEqual([]);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("the cost of emptying a rank", () => {
  it("is what would be copied: written pages, not reserved ones", () => {
    const pool = aPool(three, [aRequest("r", "aaab", { writtenPages: 2 }), aRequest("s", "bb")]);
    expect([...emptyingBytes(pool)]).toEqual([
      ["a", 2 * 2 ** 20],
      ["b", 2 * 2 ** 20],
      ["c", 0],
    ]);
  });
});
