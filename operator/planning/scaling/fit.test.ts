import fc from "fast-check";
import { describe as group, expect, it } from "vitest";
import type { Bounds, Range, Size } from "./decision.ts";
import { allowedGroupSizes, describe, fitSize, gpusOf } from "./fit.ts";
import { arbitraryBounds, arbitrarySize } from "./testing/arbitraries.ts";
import { anInput, aPolicy } from "./testing/builders.ts";

const { cost } = anInput();
const sized = (groups: number, groupSize: number, decodeRanks: number): Size => ({
  groups,
  groupSize,
  decodeRanks,
});
const fit = (bounds: Bounds, wished: Size, present = wished) => fitSize(cost, bounds, present, wished).size;
const wide = { groups: { min: 1, max: 1_000 }, decodeRanks: { min: 1, max: 4_096 }, gpuBudget: 100_000 };

const aFit = fc
  .tuple(arbitraryBounds, arbitrarySize, arbitrarySize, fc.nat())
  .map(([bounds, present, wished, pick]) => {
    const sizes = allowedGroupSizes(cost, bounds);
    return { bounds, present, wished: { ...wished, groupSize: sizes[pick % sizes.length] ?? 1 } };
  });

group("a size that is made to fit", () => {
  it("lies within minimum, maximum and budget", () => {
    fc.assert(
      fc.property(aFit, ({ bounds, present, wished }) => {
        const size = fit(bounds, wished, present);
        expect(gpusOf(cost, size)).toBeLessThanOrEqual(bounds.gpuBudget);
        for (const role of ["groups", "decodeRanks"] as const) {
          expect(size[role]).toBeGreaterThanOrEqual(bounds[role].min);
          expect(size[role]).toBeLessThanOrEqual(bounds[role].max);
        }
      }),
    );
  });

  it("fits as it is where the budget is not short, and comes to rest in a few looks where it is", () => {
    fc.assert(
      fc.property(aFit, fc.boolean(), ({ bounds, present, wished }, short) => {
        const given = short ? bounds : { ...bounds, gpuBudget: wide.gpuBudget };
        let size = fit(given, wished, present);
        if (!short) expect(fit(given, size)).toEqual(size);
        for (let look = 0; look < 6; look++) size = fit(given, size);
        expect(describe(fit(given, size))).toBe(describe(size));
      }),
    );
  });

  it.each<[string, Range, Size, Size]>([
    ["29 groups beside 100 ranks are 0.29", { min: 0, max: 0.29 }, sized(29, 1, 100), sized(29, 1, 100)],
    ["29 groups need 100 ranks for 0.29", { min: 0, max: 0.29 }, sized(29, 1, 2), sized(29, 1, 100)],
    ["100 ranks need 7 groups for 0.07", { min: 0.07, max: 100 }, sized(1, 1, 100), sized(7, 1, 100)],
    ["groups and ranks come into it together", { min: 1.5, max: 1.5 }, sized(1, 1, 1), sized(3, 1, 2)],
    ["only hundreds would come into it", { min: 4.01, max: 4.01 }, sized(1, 1, 1), sized(5, 1, 1)],
    ["it is kept as near as one group goes", { min: 4.01, max: 4.01 }, sized(5, 1, 1), sized(5, 1, 1)],
  ])("keeps the ratio of roles where %s", (_, ratio, wished, expected) => {
    const { bounds } = aPolicy({}, { ...wide, ratio });
    expect(fit(bounds, wished)).toEqual(expected);
    expect(fit(bounds, expected)).toEqual(expected);
  });

  it("keeps no rank above the wished ones when the budget is short", () => {
    const ratio = { min: 2.01, max: 2.01 };
    const ranges = { groups: { min: 1, max: 3 }, decodeRanks: { min: 2, max: 3 } };
    const { bounds } = aPolicy({}, { ...ranges, ratio, gpuBudget: 5, groupSizes: [1, 2] });
    expect(fit(bounds, sized(0, 2, 0), sized(1, 4, 3))).toEqual(sized(1, 2, 2));
  });
});
