import { describe, expect, it } from "vitest";
import { fitLine } from "./line.ts";

describe("fitLine", () => {
  it("finds a line and judges it on the rows it did not use", () => {
    const points = Array.from({ length: 20 }, (_, index) => ({ x: index + 1, y: 3 + 2 * (index + 1) }));
    const line = fitLine(points);
    expect(line.intercept).toBeCloseTo(3, 9);
    expect(line.slope).toBeCloseTo(2, 9);
    expect(line.heldOutP90).toBeLessThan(1e-9);
    const disturbed = points.map((point, index) =>
      index % 2 === 1 ? { ...point, y: point.y * 1.1 } : point,
    );
    expect(fitLine(disturbed).heldOutP50).toBeCloseTo(0.1 / 1.1, 6);
  });

  it("has no negative intercept, and refuses too few rows", () => {
    const bent = Array.from({ length: 10 }, (_, index) => ({ x: index + 1, y: (index + 1) ** 2 }));
    expect(fitLine(bent).intercept).toBe(0);
    expect(() => fitLine([{ x: 1, y: 1 }])).toThrow("1 rows are too few");
  });
});
