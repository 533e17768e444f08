import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { amountOf, imbalance, type Loads, maximum, poolLoads, type Quantity, withMove } from "./load.ts";
import type { Move } from "./move.ts";
import { planRebalance, replayRebalance } from "./plan.ts";
import type { PoolSnapshot } from "./pool.ts";
import { coldRuns, newestPage } from "./shards.ts";
import { play, strayPages, tickMs } from "./testing/play.ts";
import { anyPool, aPolicy, aPool, aRequest } from "./testing/pools.ts";

const policy = aPolicy();
const three = [{ rankId: "a" }, { rankId: "b" }, { rankId: "c" }];
const loadsOf = (pool: PoolSnapshot) => [...poolLoads(pool, policy).values()];
const quantities: readonly Quantity[] = ["scan", "memory"];

/** How much more the move's source carries than its destination. */
function spread(loads: Loads, move: Move, quantity: Quantity): number {
  const [from, to] = [loads.get(move.from), loads.get(move.to)];
  return from === undefined || to === undefined ? NaN : amountOf(from, quantity) - amountOf(to, quantity);
}

/** What ranks carry once the move is over. */
function moved(loads: Loads, move: Move, pool: PoolSnapshot): Loads {
  const request = pool.requests.find((one) => one.requestId === move.requestId);
  if (request === undefined) throw new Error("A move of no request");
  return withMove(loads, move, { request, leased: false });
}

describe("planning a balance", () => {
  it("gives the slowest rank's oldest pages to the least loaded rank, and leaves the newest page", () => {
    const pool = aPool(three, [aRequest("r", "aaaaaaaaaa"), aRequest("s", "bb")]);
    const { reason, moves, choice } = planRebalance(pool, policy);
    expect(reason).toBe("Moves");
    expect(moves).toMatchObject([{ requestId: "r", from: "a", to: "c", firstPage: 0, pages: 4 }]);
    expect(choice).toContain("the slowest scan is 2.50");
    expect(moves.every((move) => move.firstPage + move.pages <= 9)).toBe(true);
  });

  it("leaves a pool that is even enough as it is", () => {
    const pool = aPool(three, [aRequest("r", "aaabbbccc")]);
    expect(planRebalance(pool, policy)).toMatchObject({ reason: "Balanced", moves: [] });
  });

  it("makes no move that costs more than the request will ever gain, and says the numbers", () => {
    const pool = aPool(three, [aRequest("r", "aaaaaaaaaa", { remainingTokens: 10 })]);
    const { reason, refusals } = planRebalance(pool, policy);
    expect(reason).toBe("NoMoveHelps");
    expect(refusals).toContain("4 pages of r from a to c would save 39.1 ms and cost 81.3 ms");
  });

  it("waits for the first step of an uneven pool: without its time no gain is known", () => {
    const pool = aPool(three, [aRequest("r", "aaaaaaaaaa")], { stepMs: 0, scanBytesPerSecond: 0 });
    expect(planRebalance(pool, policy)).toMatchObject({ reason: "NotMeasured", moves: [] });
    const leaving = { ...pool, ranks: pool.ranks.map((rank) => ({ ...rank, admits: rank.rankId !== "a" })) };
    expect(planRebalance(leaving, policy, { kind: "drain", rankId: "a" }).reason).toBe("Moves");
  });

  it("brings pages to their request's home before others, and takes those that are at home last", () => {
    const homes = ["a", "b", "c"];
    const requests = homes.map((home) => aRequest(`of-${home}`, "aaaaaaaaaa", { home }));
    const pool = aPool(three, [...requests, aRequest("rest", "bbbbcc")]);
    const { moves } = planRebalance(pool, policy);
    expect(moves[0]).toMatchObject({ requestId: "of-c", from: "a", to: "c" });
    expect(moves.map((move) => move.requestId)).not.toContain("of-a");
  });

  it("moves reserved pages, which cost nothing to copy, when only memory is uneven", () => {
    const waiting = aRequest("w", "aaaaaaaaaaaaaaaaaaaa", { writtenPages: 1, scanBytesPerPage: 0 });
    const { moves } = planRebalance(aPool(three, [waiting, aRequest("r", "abc")]), policy);
    expect(moves).toMatchObject([{ requestId: "w", from: "a", bytes: 0 }]);
    expect(moves[0]?.firstPage).toBeGreaterThan(0);
  });

  it.each([
    ["drains", { admits: false }, "c is left out: it drains or its node is cordoned"],
    ["refused lately", { refusedAgeMs: 1_000 }, "c refused a move 1 s ago"],
    ["has no room", { freePages: 1 }, "c has no free page to give"],
    ["has just come", { ageMs: 100 }, "c starts slowly: 0 of 100 pages at 0.1 s"],
  ])("passes over a rank that %s", (_what, over, sentence) => {
    const ranks = [{ rankId: "a" }, { rankId: "b" }, { rankId: "c", over }];
    const decision = planRebalance(aPool(ranks, [aRequest("r", "aaaaaaaaaab")]), policy);
    expect(decision.moves).toMatchObject([{ to: "b" }]);
    const onlyC = aPool([{ rankId: "a" }, { rankId: "c", over }], [aRequest("r", "aaaaaaaaaa")]);
    expect(planRebalance(onlyC, policy).refusals.join()).toContain(sentence);
  });

  it("leaves out a rank whose report is old, and holds when fewer than two report", () => {
    const old = { over: { reportAgeMs: 60_000 } };
    const pool = aPool([{ rankId: "a" }, { rankId: "b", ...old }], [aRequest("r", "aaaaaaaaaa")]);
    expect(planRebalance(pool, policy)).toMatchObject({
      reason: "TooFewRanks",
      refusals: ["b is left out: its last report is too old"],
    });
  });

  it("gives a new rank more as it grows older", () => {
    const requests = [aRequest("r", "a".repeat(60), { scanBytesPerPage: 2 ** 20 })];
    const pages = [12_000, 24_000, 3_600_000].map((ageMs) => {
      const pool = aPool([{ rankId: "a" }, { rankId: "b", over: { ageMs } }], requests);
      return planRebalance(pool, aPolicy({ moveBytes: 2 ** 30 })).moves[0]?.pages;
    });
    expect(pages).toEqual([20, 29, 29]);
  });

  it("begins no more than the budget leaves open", () => {
    const requests = ["r", "s", "t", "u"].map((name) => aRequest(name, "aaaaaaaaaa"));
    const tight = aPolicy({ concurrentMoves: 2 });
    const pool = aPool(three, requests);
    const first = planRebalance(pool, tight).moves;
    expect(first).toHaveLength(2);
    const moves = first.map((move) => ({ ...move, state: "copying" as const }));
    expect(planRebalance({ ...pool, moves }, tight)).toMatchObject({ reason: "BudgetSpent", moves: [] });
  });

  it.each([
    ["no number", { scanBytesPerStep: NaN }, {}, "a has scanBytesPerStep NaN"],
    ["more free pages than pages", { freePages: 500 }, {}, "a has 500 pages free of 100"],
    [
      "a map with a hole",
      {},
      { shards: [{ rankId: "a", firstPage: 1, pages: 9 }] },
      "r has a gap or an overlap in its map at page 0",
    ],
    [
      "pages on no rank",
      {},
      { shards: [{ rankId: "z", firstPage: 0, pages: 10 }] },
      "r has pages on z, which is not in the pool",
    ],
    ["more written than there is", {}, { writtenPages: 11 }, "r has written 11 of 10 pages"],
  ])("moves nothing when the pool reports %s, and says what", (_what, rank, request, sentence) => {
    const pool = aPool(three, [aRequest("r", "aaaaaaaaaa")]);
    const ranks = pool.ranks.map((one) => (one.rankId === "a" ? { ...one, ...rank } : one));
    const requests = pool.requests.map((one) => ({ ...one, ...request }));
    expect(planRebalance({ ...pool, ranks, requests }, policy)).toMatchObject({
      reason: "AbsurdFacts",
      moves: [],
      refusals: [sentence],
    });
  });

  it("decides the same from its record, and whatever the order of the facts", () => {
    fc.assert(
      fc.property(anyPool, (pool) => {
        const decision = planRebalance(pool, policy);
        const record = { goal: { kind: "balance" as const }, pool, policy, decision };
        expect(replayRebalance(JSON.parse(JSON.stringify(record)) as typeof record)).toEqual(decision);
        const turned = { ...pool, ranks: [...pool.ranks].reverse(), requests: [...pool.requests].reverse() };
        expect(planRebalance(turned, policy)).toEqual(decision);
      }),
    );
  });
});

describe("any pool, balanced to the end", () => {
  it("comes to rest, with every page in one place and no maximum higher than before", () => {
    fc.assert(
      fc.property(anyPool, (pool) => {
        const played = play(pool, policy);
        expect(played.settledAt).toBeDefined();
        expect(strayPages(played)).toBe(0);
        for (const quantity of quantities) {
          const before = maximum(loadsOf(pool), quantity);
          expect(maximum(loadsOf(played.pool), quantity)).toBeLessThanOrEqual(before + 1e-9);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("lowers the fullest rank that it changes: of scans in order, or where they are equal of memory", () => {
    const inOrder = (loads: Loads, quantity: Quantity) =>
      [...loads.values()].map((load) => amountOf(load, quantity)).sort((a, b) => b - a);
    const firstChange = (before: Loads, after: Loads, quantity: Quantity): number => {
      const then = inOrder(before, quantity);
      const changes = inOrder(after, quantity).map((amount, index) => amount - (then[index] ?? NaN));
      return changes.find((change) => Math.abs(change) > 1e-9) ?? 0;
    };
    fc.assert(
      fc.property(anyPool, (pool) => {
        const before = poolLoads(pool, policy);
        const { moves } = planRebalance(pool, policy);
        const after = moves.reduce((loads, move) => moved(loads, move, pool), before);
        const changed = firstChange(before, after, "scan") || firstChange(before, after, "memory");
        if (moves.length > 0) expect(changed).toBeLessThan(0);
      }),
      { numRuns: 300 },
    );
  });

  it("narrows with each move the spread that it is made for, and the pair never changes places", () => {
    fc.assert(
      fc.property(anyPool, (pool) => {
        let loads = poolLoads(pool, policy);
        for (const move of planRebalance(pool, policy).moves) {
          const before = loads;
          loads = moved(loads, move, pool);
          const narrowed = quantities.filter((quantity) => {
            const [then, now] = [spread(before, move, quantity), spread(loads, move, quantity)];
            return now > 0 && now < then;
          });
          expect(narrowed).not.toEqual([]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("keeps to its budgets at every moment, with one move for a request", () => {
    fc.assert(
      fc.property(anyPool, fc.integer({ min: 1, max: 4 }), (pool, concurrentMoves) => {
        const limited = aPolicy({ concurrentMoves });
        const { pools, decisions } = play(pool, limited);
        for (const move of decisions.flatMap((decision) => decision.moves))
          expect(move.bytes).toBeLessThanOrEqual(limited.moveBytes);
        for (const { moves } of pools) {
          expect(moves.length).toBeLessThanOrEqual(concurrentMoves);
          expect(moves.reduce((sum, move) => sum + move.bytesPerSecond, 0)).toBeLessThanOrEqual(
            limited.bytesPerSecond,
          );
          expect(new Set(moves.map((move) => move.requestId)).size).toBe(moves.length);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("never moves the newest page, and leaves requests alone whose prompt is being pushed", () => {
    fc.assert(
      fc.property(anyPool, (pool) => {
        for (const move of play(pool, policy).decisions.flatMap((decision) => decision.moves)) {
          const request = pool.requests.find((one) => one.requestId === move.requestId);
          expect(request?.settled).toBe(true);
          const newest = newestPage(request ?? aRequest("none", "a"));
          expect(move.firstPage <= newest && newest < move.firstPage + move.pages).toBe(false);
        }
        for (const request of pool.requests) {
          const cold = pool.ranks.flatMap((rank) => coldRuns(request, rank.rankId));
          const total = request.shards.reduce((sum, shard) => sum + shard.pages, 0);
          expect(cold.reduce((sum, run) => sum + run.pages, 0)).toBe(total - 1);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("a lopsided pool of three ranks with twelve requests", () => {
  /** Most pages of every request on a, a few on the others; answers reserved. */
  const lopsided = fc
    .array(
      fc.record({
        pages: fc.integer({ min: 4, max: 20 }),
        aside: fc.nat({ max: 2 }),
        reserved: fc.nat({ max: 2 }),
      }),
      {
        minLength: 12,
        maxLength: 12,
      },
    )
    .map((shapes) =>
      aPool(
        three.map((rank) => ({ ...rank, capacityPages: 320 })),
        shapes.map(({ pages, aside, reserved }, index) =>
          aRequest(
            `r${String(index).padStart(2, "0")}`,
            "a".repeat(pages) + "b".repeat(aside) + "c".repeat(aside) + "a".repeat(reserved),
            {
              writtenPages: pages + 2 * aside,
              remainingTokens: 4_000,
            },
          ),
        ),
      ),
    );

  it("loses at least 60 % of its imbalance, in memory and in scan", () => {
    fc.assert(
      fc.property(lopsided, (pool) => {
        const played = play(pool, policy);
        expect(played.settledAt).toBeDefined();
        for (const quantity of quantities) {
          const before = imbalance(loadsOf(pool), quantity);
          expect(imbalance(loadsOf(played.pool), quantity)).toBeLessThanOrEqual(0.4 * before);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("loses at least 60 % of the 95th percentile over the minute in which it is balanced and the next", () => {
    fc.assert(
      fc.property(lopsided, (pool) => {
        const { pools } = play(pool, policy);
        const samples = pools.map((one) => measured(one));
        const minutes = Math.ceil(120_000 / tickMs);
        while (samples.length < minutes) samples.push(samples.at(-1) ?? 0);
        expect(percentile95(samples)).toBeLessThanOrEqual(0.4 * measured(pool));
      }),
      { numRuns: 30 },
    );
  });
});

/** Of the pages that ranks really hold now, leases included. */
function measured(pool: PoolSnapshot): number {
  const held = pool.ranks.map((rank) => rank.capacityPages - rank.freePages);
  return (Math.max(...held) * held.length) / held.reduce((sum, one) => sum + one, 0) - 1;
}

function percentile95(samples: readonly number[]): number {
  return [...samples].sort((a, b) => a - b)[Math.ceil(samples.length * 0.95) - 1] ?? 0;
}
