import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Move, type MoveReport, planFollow } from "./move.ts";
import { planRebalance } from "./plan.ts";
import type { PoolSnapshot } from "./pool.ts";
import { type Fault, play, strayPages } from "./testing/play.ts";
import { anyPool, aPolicy, aPool, aRequest } from "./testing/pools.ts";

const policy = aPolicy();
const pool = aPool([{ rankId: "a" }, { rankId: "b" }], [aRequest("r", "a".repeat(30))]);

function aMove(): Move {
  const [move] = planRebalance(pool, policy).moves;
  if (move === undefined) throw new Error("The lopsided pool has no move");
  return move;
}

/** The pool with another incarnation of a rank. */
const reborn = (rankId: string): PoolSnapshot => ({
  ...pool,
  ranks: pool.ranks.map((rank) => (rank.rankId === rankId ? { ...rank, incarnation: "later" } : rank)),
});

const follow = (
  report: MoveReport | undefined,
  { now = pool, ageMs = 0, wanted = true }: { now?: PoolSnapshot; ageMs?: number; wanted?: boolean } = {},
) => planFollow({ move: aMove(), ageMs }, report, now, { orderMs: 10_000, wanted });

describe("following a recorded move", () => {
  it("orders it while the pool does not know it, and waits while it copies", () => {
    expect(follow(undefined).action).toBe("order");
    expect(follow({ phase: "copying", reason: "" }, { ageMs: 1e9 }).action).toBe("wait");
  });

  it.each(["committed", "refused", "cancelled", "failed"] as const)(
    "releases it once the pool calls it %s, whatever else has changed",
    (phase) => {
      const step = follow({ phase, reason: "so it is" }, { now: reborn("a"), ageMs: 1e9, wanted: false });
      expect(step).toEqual({ action: "release", why: `${phase}: so it is` });
    },
  );

  it.each([
    [
      "the map changed",
      { ...pool, requests: pool.requests.map((one) => ({ ...one, mapVersion: 7 })) },
      "from version 1 to 7",
    ],
    ["the source is gone", reborn("a"), "source a is gone"],
    ["the destination is gone", reborn("b"), "destination b is gone"],
    ["the request is over", { ...pool, requests: [] }, "request r is over"],
  ])("releases what was never begun when %s", (_what, now, why) => {
    const step = follow(undefined, { now });
    expect(step.action).toBe("release");
    expect(step.why).toContain(why);
  });

  it("gives up what the pool does not take in time", () => {
    expect(follow(undefined, { ageMs: 10_000 }).action).toBe("order");
    expect(follow(undefined, { ageMs: 10_001 })).toEqual({
      action: "release",
      why: "never begun within 10 s",
    });
  });

  it("cancels what copies when rebalancing is switched off, and orders nothing more", () => {
    expect(follow({ phase: "copying", reason: "" }, { wanted: false }).action).toBe("cancel");
    expect(follow(undefined, { wanted: false }).action).toBe("release");
  });
});

describe("a move that is under way", () => {
  it("is counted as done by the next plan, and its request is left alone", () => {
    const ordered = { ...aMove(), state: "ordered" as const };
    expect(planRebalance({ ...pool, moves: [ordered] }, policy)).toMatchObject({
      reason: "Balanced",
      moves: [],
    });
    const leased = pool.ranks.map((rank) =>
      rank.rankId === "b" ? { ...rank, freePages: rank.freePages - aMove().pages } : rank,
    );
    const halfway = { ...pool, ranks: leased, moves: [{ ...aMove(), state: "copying" as const }] };
    expect(planRebalance(halfway, policy)).toMatchObject({ reason: "Balanced", moves: [] });
  });

  it("has a name that the control API takes, however long the names of request and rank are", () => {
    const [from, to] = [`${"d".repeat(50)}-0`, `${"d".repeat(50)}-11`];
    const shards = [{ rankId: from, firstPage: 0, pages: 30 }];
    const request = aRequest("r".repeat(128), "a", { shards, home: from, writtenPages: 30 });
    const [move] = planRebalance(aPool([{ rankId: from }, { rankId: to }], [request]), policy).moves;
    expect(move?.moveId).toMatch(/^r{64}@1\/0\+\d+\/11$/);
  });
});

describe("whatever breaks between two steps", () => {
  const fault: fc.Arbitrary<Fault> = fc.record({
    atTick: fc.integer({ min: 0, max: 40 }),
    kind: fc.constantFrom("forget", "wipe", "refuse", "lose", "cancel", "end", "remap"),
    pick: fc.nat({ max: 20 }),
  });
  const goals = fc.constantFrom({ kind: "balance" as const }, { kind: "drain" as const, rankId: "a" });

  it("no page is lost or held twice in the end, and no rank overflows", () => {
    fc.assert(
      fc.property(anyPool, fc.array(fault, { maxLength: 12 }), goals, (start, faults, goal) => {
        const played = play(start, policy, { goal, faults });
        expect(played.settledAt).toBeDefined();
        expect(strayPages(played)).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
