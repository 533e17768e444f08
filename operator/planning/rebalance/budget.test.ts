import fc from "fast-check";
import { expect, it } from "vitest";
import { openSlots, rateOf } from "./budget.ts";
import type { MoveUnderWay } from "./pool.ts";
import { aPolicy, aPool } from "./testing/pools.ts";

const mebibyte = 2 ** 20;

function openBeside(underWay: number, bytesPerSecond: number, concurrentMoves: number): number {
  const policy = aPolicy({ bytesPerSecond, concurrentMoves });
  const moves = Array.from({ length: underWay }, (_, index): MoveUnderWay => ({
    moveId: `m${String(index)}`,
    requestId: `r${String(index)}`,
    from: "a",
    to: "b",
    firstPage: 0,
    pages: 1,
    bytesPerSecond: rateOf(policy),
    state: "copying",
  }));
  return openSlots({ ...aPool([], []), moves }, policy);
}

it("lets as many moves begin as the budget says beside those under way, however it is shared out", () => {
  // A fifth of 256 MiB is no whole number: four of them left a little less than a fifth.
  expect(openBeside(4, 256 * mebibyte, 5)).toBe(1);
  const shapes = fc
    .integer({ min: 1, max: 64 })
    .chain((most) =>
      fc.tuple(fc.constant(most), fc.nat({ max: most }), fc.integer({ min: most * 262_144, max: 2 ** 40 })),
    );
  fc.assert(
    fc.property(shapes, ([most, underWay, bytesPerSecond]) => {
      expect(openBeside(underWay, bytesPerSecond, most)).toBe(most - underWay);
    }),
  );
});
