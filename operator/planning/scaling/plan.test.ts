import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { consolidation, utilisation } from "../autoscaling/policy.ts";
import type { Bounds, Demand, ScalingInput, Size } from "./decision.ts";
import { gpusOf } from "./fit.ts";
import { planScaling, replay } from "./plan.ts";
import { arbitraryBounds, arbitraryDemand, arbitrarySize } from "./testing/arbitraries.ts";
import { aClass, aDecode, aDemand, anInput, aPolicy } from "./testing/builders.ts";
import { changes, play } from "./testing/play.ts";

const codes = (input: ScalingInput) => planScaling(input).reasons.map(({ code }) => code);
const scaled = (demand: Demand, by: number): Demand => ({
  ...demand,
  classes: demand.classes.map((one) => ({ ...one, arrivalsPerSecond: one.arrivalsPerSecond * by })),
  decode: { ...demand.decode, arrivalsPerSecond: demand.decode.arrivalsPerSecond * by },
});

const policies = [
  ["with much room", aPolicy()],
  ["with the operator's room", aPolicy({ utilisation, consolidation })],
] as const;

describe("planScaling", () => {
  it.each(policies)(
    "reaches a size under constant load, stays there, and never turns back: %s",
    (_, policy) => {
      fc.assert(
        fc.property(arbitraryDemand, arbitrarySize, (demand, current) => {
          const decisions = play(anInput({ current, policy }), 48, () => demand);
          expect(changes(decisions.slice(34))).toBe(0);
          // The first move may bring a size into its bounds; after it each role moves one way.
          expect(decisions.at(-1)?.memory.reversalsMs.length).toBeLessThanOrEqual(1);
        }),
        { numRuns: 25 },
      );
    },
  );

  it.each(policies)("never wants fewer GPUs for more load, from any size: %s", (_, policy) => {
    const factor = fc.double({ min: 1, max: 4, noNaN: true });
    fc.assert(
      fc.property(arbitraryDemand, factor, arbitrarySize, (demand, by, current) => {
        const less = planScaling(anInput({ current, policy, demand }));
        const more = planScaling(anInput({ current, policy, demand: scaled(demand, by) }));
        const prefill = (size: Size) => size.groups * size.groupSize;
        expect(prefill(more.size)).toBeGreaterThanOrEqual(prefill(less.size));
        expect(more.size.decodeRanks).toBeGreaterThanOrEqual(less.size.decodeRanks);
      }),
    );
  });

  it("repeats any decision from its record, also after a round trip through JSON", () => {
    fc.assert(
      fc.property(arbitraryDemand, arbitrarySize, (demand, current) => {
        const decisions = play(anInput({ current }), 14, (step) =>
          step === 5 ? undefined : scaled(demand, 1 + (step % 3)),
        );
        for (const record of decisions) {
          expect(replay(record)).toEqual(record);
          const stored = JSON.parse(JSON.stringify(record)) as typeof record;
          expect(JSON.parse(JSON.stringify(replay(stored)))).toEqual(stored);
        }
      }),
      { numRuns: 12 },
    );
  });

  it("stays within minimum, maximum and budget whatever the load, also when they are edited", () => {
    fc.assert(
      fc.property(
        arbitraryDemand,
        arbitrarySize,
        fc.tuple(arbitraryBounds, arbitraryBounds),
        (demand, current, [first, second]) => {
          let input = anInput({ current });
          for (const bounds of [first, second, first]) {
            const policy = aPolicy({ stabilizationMs: 60_000 }, bounds);
            for (const decision of play({ ...input, policy }, 5, () => demand)) {
              const { size, memory } = decision;
              expect(gpusOf(input.cost, size)).toBeLessThanOrEqual(bounds.gpuBudget);
              expect(bounds.groupSizes).toContain(size.groupSize);
              for (const role of ["groups", "decodeRanks"] as const) {
                expect(size[role]).toBeGreaterThanOrEqual(bounds[role].min);
                expect(size[role]).toBeLessThanOrEqual(bounds[role].max);
              }
              input = { ...input, nowMs: decision.input.nowMs + 30_000, current: size, memory };
            }
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it("comes to rest within any bounds, also where they hold too little", () => {
    fc.assert(
      fc.property(arbitraryDemand, arbitrarySize, arbitraryBounds, (demand, current, bounds) => {
        const policy = aPolicy({ stabilizationMs: 60_000 }, bounds);
        const decisions = play(anInput({ current, policy }), 24, () => demand);
        expect(changes(decisions.slice(14))).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  it("keeps the group size when the largest sizes are equal and none holds the load", () => {
    const policy = aPolicy({}, { groupSizes: [2, 4], groups: { min: 1, max: 2 }, gpuBudget: 5 });
    const demand = aDemand({ classes: [aClass("huge", 200_000, 0.001, 600)] });
    for (const current of [
      { groups: 2, groupSize: 2, decodeRanks: 1 },
      { groups: 1, groupSize: 4, decodeRanks: 1 },
    ]) {
      const decisions = play(anInput({ current, policy }), 6, () => demand);
      expect(changes(decisions.slice(1))).toBe(0);
    }
  });

  it("grows at once and shrinks only after the window", () => {
    const busy = scaled(aDemand(), 20);
    const quiet = scaled(aDemand(), 0.1);
    const start = anInput();
    const decisions = play(start, 40, (step) => (step < 4 ? busy : quiet));
    const grown = decisions[0]?.size;
    expect(grown?.groups).toBeGreaterThan(start.current.groups);
    expect(decisions[13]?.size).toEqual(grown);
    expect(decisions[13]?.refusals.map(({ code }) => code)).toContain("Stabilizing");
    expect(gpusOf(start.cost, decisions[39]?.size ?? start.current)).toBeLessThan(
      gpusOf(start.cost, grown ?? start.current),
    );
  });

  it("turns back at most once in half an hour of noise", () => {
    const wave = (step: number) => 1 + 0.3 * Math.sin(step * 12.9898) + 0.2 * Math.sin(step * 78.233);
    const decisions = play(anInput(), 120, (step) => scaled(aDemand(), 4 * wave(step)));
    for (const { memory } of decisions) expect(memory.reversalsMs.length).toBeLessThanOrEqual(1);
  });

  it("waits twice as long after it turned back, but not where load has a season", () => {
    const busy = scaled(aDemand(), 20);
    const quiet = scaled(aDemand(), 0.1);
    const stepsUntilSmaller = (seasonal: boolean): number => {
      const at = (step: number): Demand => ({ ...(step % 40 < 4 ? busy : quiet), seasonal });
      const decisions = play(anInput(), 60, at);
      const grown = decisions[43]?.size;
      if (grown === undefined) throw new Error("no decision was made");
      return decisions.slice(44).findIndex(({ size }) => size.groups < grown.groups);
    };
    expect(stepsUntilSmaller(true)).toBeGreaterThan(0);
    expect(stepsUntilSmaller(false) === -1 || stepsUntilSmaller(false) >= 2 * stepsUntilSmaller(true)).toBe(
      true,
    );
  });

  it("gives long prompts a higher degree than short ones", () => {
    const { degrees } = planScaling(anInput());
    expect(degrees["huge"]).toBeGreaterThan(degrees["short"] ?? Infinity);
  });

  it("says which objective no degree can meet, and what is best", () => {
    const classes = [{ name: "huge", upToTokens: 1_048_576, ttftSeconds: 0.2 }];
    const demand = aDemand({ classes: [aClass("huge", 500_000, 0.01)] });
    const decision = planScaling(anInput({ policy: aPolicy({ classes }), demand }));
    const reason = decision.reasons.find(({ code }) => code === "SLOInfeasible");
    expect(reason?.sentence).toMatch(/class huge under their TTFT; the best is \d+\.\d\d s/);
    expect(codes(anInput({ policy: aPolicy({ tbtSeconds: 0.001 }) }))).toContain("SLOInfeasible");
  });

  it("shrinks to no group size that was wished for when it was still allowed", () => {
    const sizes = (groupSizes: readonly number[]) =>
      aPolicy({ stabilizationMs: 60_000 }, { groupSizes, groups: { min: 1, max: 2 } });
    const quiet = scaled(aDemand(), 0);
    const before = play(anInput({ policy: sizes([3]) }), 2, () => quiet).at(-1);
    if (before === undefined) throw new Error("no decision was made");
    const current = { groups: 2, groupSize: 2, decodeRanks: 1 };
    const { nowMs } = before.input;
    const after = play(
      anInput({ policy: sizes([2]), current, memory: before.memory, nowMs: nowMs + 30_000 }),
      8,
      () => quiet,
    );
    expect(new Set(after.map(({ size }) => size.groupSize))).toEqual(new Set([2]));
    expect(after.at(-1)?.size.groups).toBe(1);
  });

  it("moves both roles a part of the way when the budget does not hold all of it", () => {
    const demand = scaled(aDemand(), 40);
    const policy = aPolicy({}, { gpuBudget: 48 });
    const current = { groups: 2, groupSize: 8, decodeRanks: 4 };
    const free = planScaling(anInput({ current, demand }));
    const bound = planScaling(anInput({ current, demand, policy }));
    expect(gpusOf(bound.input.cost, free.size)).toBeGreaterThan(48);
    expect(gpusOf(bound.input.cost, bound.size)).toBeLessThanOrEqual(48);
    expect(bound.refusals.map(({ code }) => code)).toContain("GpuBudget");
    const prefill = (size: Size) => size.groups * size.groupSize;
    expect(prefill(bound.size)).toBeGreaterThan(prefill(current));
    expect(bound.size.decodeRanks).toBeGreaterThanOrEqual(current.decodeRanks);
  });

  it("keeps the ratio of prefill to decode GPUs", () => {
    const policy = aPolicy({}, { ratio: { min: 0.5, max: 2 } });
    const decision = planScaling(anInput({ demand: scaled(aDemand(), 10), policy }));
    const { groups, groupSize, decodeRanks } = decision.size;
    expect((groups * groupSize) / decodeRanks).toBeLessThanOrEqual(2);
    expect(decision.refusals.map(({ code }) => code)).toContain("RatioBound");
  });

  it("goes to zero only where the minimum allows it and nothing arrives or waits", () => {
    const nothing = scaled(aDemand({ decode: aDecode({ liveContextTokens: 0, p90TbtSeconds: 0 }) }), 0);
    const zero = aPolicy({}, { groups: { min: 0, max: 8 }, decodeRanks: { min: 0, max: 8 } });
    const last = (policy: typeof zero, demand: Demand) =>
      play(anInput({ policy }), 40, () => demand).at(-1)?.size;
    expect(last(zero, nothing)).toMatchObject({ groups: 0, decodeRanks: 0 });
    expect(last(aPolicy(), nothing)).toMatchObject({ groups: 1, decodeRanks: 1 });
    const waiting = { ...nothing, classes: [aClass("short", 4_000, 0, 1)] };
    expect(last(zero, waiting)?.groups).toBe(1);
  });
});

describe("a decision that nothing may be concluded from", () => {
  const many = scaled(aDemand(), 50);
  const withRate = (arrivalsPerSecond: number) =>
    aDemand({ classes: [aClass("short", 4_000, arrivalsPerSecond)] });
  const nowMs = 1_000_000;
  it.each([
    ["MetricsMissing", anInput({ demand: undefined })],
    ["MetricsStale", anInput({ demand: many, samples: [] })],
    [
      "MetricsStale",
      anInput({
        demand: many,
        samples: [
          { podUid: "a", atMs: nowMs - 40_000 },
          { podUid: "b", atMs: nowMs },
        ],
      }),
    ],
    [
      "MetricsStale",
      anInput({
        demand: many,
        samples: [
          { podUid: "a", atMs: nowMs },
          { podUid: "a", atMs: nowMs },
        ],
      }),
    ],
    ["MetricsAbsurd", anInput({ demand: withRate(Number.NaN) })],
    ["MetricsAbsurd", anInput({ demand: withRate(-1) })],
    ["MetricsAbsurd", anInput({ demand: withRate(1e12) })],
    ["MetricsAbsurd", anInput({ demand: aDemand({ decode: aDecode({ p90TbtSeconds: Infinity }) }) })],
    ["PodsPending", anInput({ demand: many, pendingPods: 1 })],
    ["ContradictoryBounds", anInput({ policy: aPolicy({}, { gpuBudget: 1 }) })],
    ["ContradictoryBounds", anInput({ policy: aPolicy({}, { groups: { min: 3, max: 2 } }) })],
  ] as const)("keeps the present size: %s", (code, input) => {
    const decision = planScaling(input);
    expect(decision.reasons.map((one) => one.code)).toEqual([code]);
    expect(decision.size).toEqual(input.current);
  });

  it("says whether the budget or the model's heads leave no size, also where ranks are to wake", () => {
    for (const current of [anInput().current, { groups: 0, groupSize: 8, decodeRanks: 0 }]) {
      const why = (bounds: Partial<Bounds>) =>
        planScaling(anInput({ current, policy: aPolicy({}, bounds) })).reasons[0]?.sentence;
      expect(why({ gpuBudget: 1 })).toBe("the minimum sizes need more than the budget of 1 GPUs");
      expect(why({ groupSizes: [] })).toMatch(/^none of the degrees .* divides the model's heads$/);
    }
  });

  it("does not scale on a step of the clock, and forgets the wishes from before it", () => {
    const decisions = play(anInput(), 5, () => aDemand());
    const last = decisions.at(-1);
    if (last === undefined) throw new Error("no decision was made");
    for (const stepMs of [-60_000, 7 * 3_600_000]) {
      const at = anInput({
        nowMs: last.input.nowMs + stepMs,
        current: last.size,
        memory: last.memory,
        demand: scaled(aDemand(), 0.01),
      });
      const stepped = planScaling(at);
      expect(stepped.reasons.map(({ code }) => code)).toEqual(["ClockStepped"]);
      const after = planScaling({
        ...at,
        nowMs: at.nowMs + 30_000,
        memory: stepped.memory,
        samples: at.samples.map((one) => ({ ...one, atMs: at.nowMs + 30_000 })),
      });
      expect(after.size).toEqual(last.size);
    }
  });
});
