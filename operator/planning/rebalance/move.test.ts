import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cancelMoves, type MoveRecord, planMoveStep } from "./move.ts";
import { planRebalance } from "./plan.ts";
import type { PoolSnapshot } from "./pool.ts";
import { moveRun } from "./shards.ts";
import { type Fault, play, strayPages } from "./testing/play.ts";
import { anyPool, aPolicy, aPool, aRequest } from "./testing/pools.ts";

const policy = aPolicy();
const pool = aPool([{ rankId: "a" }, { rankId: "b" }], [aRequest("r", "a".repeat(30))]);
const [move] = planRebalance(pool, policy).moves;

function aRecord(over: Partial<MoveRecord> = {}): MoveRecord {
  if (move === undefined) throw new Error("The lopsided pool has no move");
  return { ...move, state: "planned", ageMs: 0, cancelled: false, ...over };
}

/** The pool after the move's commit, whoever noted it. */
const committed: PoolSnapshot = {
  ...pool,
  requests: pool.requests.map((one) => ({ ...one, epoch: 2, shards: moveRun(one.shards, aRecord(), "b") })),
};

/** The pool with another incarnation of a rank. */
const reborn = (rankId: string): PoolSnapshot => ({
  ...pool,
  ranks: pool.ranks.map((rank) => (rank.rankId === rankId ? { ...rank, incarnation: "later" } : rank)),
});

describe("the next step of a move", () => {
  it.each([
    ["planned", "lease"],
    ["leased", "copy"],
    ["copied", "verify"],
    ["verified", "commit"],
  ] as const)("after %s is %s", (state, action) => {
    expect(planMoveStep(aRecord({ state }), pool, policy).action).toBe(action);
  });

  it.each(["verified", "committed"] as const)(
    "frees the source once the map shows the commit, found %s",
    (state) => {
      expect(planMoveStep(aRecord({ state }), committed, policy).action).toBe("free");
    },
  );

  it("frees the source of a committed move even when it was cancelled or is late", () => {
    const late = aRecord({ state: "committed", cancelled: true, ageMs: 1e9 });
    expect(planMoveStep(late, committed, policy).action).toBe("free");
  });

  it("commits again what a record calls committed and the map denies", () => {
    expect(planMoveStep(aRecord({ state: "committed" }), pool, policy).action).toBe("commit");
  });

  it.each([
    [
      "the map changed",
      { ...pool, requests: pool.requests.map((one) => ({ ...one, epoch: 7 })) },
      {},
      "release",
      "from epoch 1 to 7",
    ],
    ["the source is gone", reborn("a"), {}, "release", "source a is gone"],
    ["the destination is gone", reborn("b"), {}, "forget", "destination b is gone"],
    ["it was cancelled", pool, { cancelled: true }, "release", "cancelled"],
    ["it takes too long", pool, { ageMs: 200_000 }, "release", "longer than 120 s"],
    ["the request is over", { ...pool, requests: [] }, {}, "discard", "request r is over"],
  ] as const)("ends it when %s", (_what, now, over, action, why) => {
    const step = planMoveStep(aRecord({ state: "copied", ...over }), now, policy);
    expect(step.action).toBe(action);
    expect(step.why).toContain(why);
  });

  it("is cancelled for the moves that are asked for, and not for others", () => {
    const moves = [aRecord(), aRecord({ moveId: "other", to: "c" })];
    expect(cancelMoves(moves, (one) => one.to === "c").map((one) => one.cancelled)).toEqual([false, true]);
  });
});

describe("a move that is under way", () => {
  it("is counted as done by the next plan, and its request is left alone", () => {
    expect(planRebalance({ ...pool, moves: [aRecord()] }, policy)).toMatchObject({
      reason: "Balanced",
      moves: [],
    });
    const leased = pool.ranks.map((rank) =>
      rank.rankId === "b" ? { ...rank, freePages: rank.freePages - aRecord().pages } : rank,
    );
    const halfway = { ...pool, ranks: leased, moves: [aRecord({ state: "copied" })] };
    expect(planRebalance(halfway, policy)).toMatchObject({ reason: "Balanced", moves: [] });
  });
});

describe("whatever breaks between two steps", () => {
  const fault: fc.Arbitrary<Fault> = fc.record({
    atTick: fc.integer({ min: 1, max: 40 }),
    kind: fc.constantFrom("forget", "refuse", "lose", "cancel", "end", "remap"),
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
