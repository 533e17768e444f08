/** Loads, sizes and bounds, with the edges of what the API allows: a bound met exactly, ranges of one, load of one kind or none. */
import fc from "fast-check";
import type { Bounds, Demand, Range, Size } from "../decision.ts";
import { aClass, aDecode } from "./builders.ts";

const upTo = (max: number) => fc.oneof(fc.constant(0), fc.double({ min: 0, max, noNaN: true }));

export const arbitraryDemand: fc.Arbitrary<Demand> = fc
  .record({
    short: upTo(20),
    long: upTo(4),
    huge: upTo(0.2),
    queued: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50 })),
    output: fc.integer({ min: 1, max: 1_000 }),
    live: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3_000_000 })),
    forecastRatio: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 3, noNaN: true })),
  })
  .map((one) => ({
    classes: [
      aClass("short", 4_000, one.short, one.queued),
      aClass("long", 30_000, one.long),
      aClass("huge", 200_000, one.huge),
    ],
    decode: aDecode({
      arrivalsPerSecond: one.short + one.long + one.huge,
      meanOutputTokens: one.output,
      liveContextTokens: one.live,
    }),
    forecastRatio: one.forecastRatio,
  }));

export const arbitrarySize: fc.Arbitrary<Size> = fc.record({
  groups: fc.integer({ min: 0, max: 40 }),
  groupSize: fc.constantFrom(1, 2, 3, 4, 6, 8),
  decodeRanks: fc.integer({ min: 0, max: 40 }),
});

const rangeOf = (most: number): fc.Arbitrary<Range> =>
  fc
    .tuple(fc.integer({ min: 1, max: 4 }), fc.oneof(fc.constant(0), fc.integer({ min: 0, max: most })))
    .map(([min, span]) => ({ min, max: min + span }));

/** Degrees from the least to the largest, as `groupSizes` of a deployment doubles them. */
const arbitraryGroupSizes = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 8 })))
  .map(([min, span]) => {
    const sizes: number[] = [];
    for (let size = min; size < min + span; size *= 2) sizes.push(size);
    return [...sizes, min + span];
  });

const percent = fc.integer({ min: 1, max: 1_000 });
const arbitraryRatio: fc.Arbitrary<Range> = fc.oneof(
  fc.constant({ min: 0, max: 10_000 }),
  fc.tuple(percent, percent).map(([a, b]) => ({ min: Math.min(a, b) / 100, max: Math.max(a, b) / 100 })),
  percent.map((one) => ({ min: one / 100, max: one / 100 })),
);

/** Bounds as the API server takes them, the budget exactly at the minimum among them. */
export const arbitraryBounds: fc.Arbitrary<Bounds> = fc
  .record({
    groups: rangeOf(10),
    decodeRanks: rangeOf(20),
    groupSizes: arbitraryGroupSizes,
    ratio: arbitraryRatio,
    spare: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 60 })),
  })
  .map(({ spare, ...one }) => ({
    ...one,
    gpuBudget: one.groups.min * (one.groupSizes[0] ?? 1) + one.decodeRanks.min + spare,
  }));
