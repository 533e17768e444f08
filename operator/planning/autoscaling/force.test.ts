import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Scale } from "../../../crds/schema/autoscaling.ts";
import { cspsDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import { gpusOf } from "../scaling/fit.ts";
import { sizeInForce, withSizeInForce } from "./force.ts";

const bounds = {
  mode: "Enforce",
  groups: { min: 1, max: 8 },
  degree: { min: 2, max: 8 },
  decodeRanks: { min: 2, max: 8 },
};

function specOf(autoscaling: object, tensorDegree = 1) {
  const tensorParallel = { degree: tensorDegree };
  return cspsDeploymentSpec.parse({
    model: { name: "m", source: { image: { reference: "m:1" } }, contextLength: 131_072 },
    prefill: { groups: 4, sequenceParallel: { degree: 4, minDegree: 4 }, tensorParallel },
    decode: { ranks: 6, minRanks: 4, tensorParallel },
    autoscaling: { ...bounds, ...autoscaling },
  });
}
const stated = { groups: 4, groupSize: 4, decodeRanks: 6 };
const scale = (groups: number, degree: number, decodeRanks: number): Scale => ({
  groups,
  degree,
  decodeRanks,
});

describe("the counts in force", () => {
  it.each(["Off", "Advise"])(
    "are the spec's with %s, whatever was decided and whatever the budget",
    (mode) => {
      expect(sizeInForce(specOf({ mode, gpuBudget: 4 }), scale(1, 2, 2))).toEqual(stated);
    },
  );

  it("are those that were decided on, within their ranges", () => {
    expect(sizeInForce(specOf({}), undefined)).toEqual(stated);
    expect(sizeInForce(specOf({}), scale(2, 8, 3))).toEqual({ groups: 2, groupSize: 8, decodeRanks: 3 });
    expect(sizeInForce(specOf({}), scale(9, 16, 1))).toEqual({ groups: 8, groupSize: 8, decodeRanks: 2 });
  });

  it.each([
    ["nobody decided yet", 12, undefined, { groups: 1, groupSize: 4, decodeRanks: 6 }],
    ["it was edited since", 12, scale(3, 4, 2), { groups: 2, groupSize: 4, decodeRanks: 2 }],
    ["it holds no group of the present size", 5, scale(1, 8, 4), { groups: 1, groupSize: 2, decodeRanks: 3 }],
    ["it holds the minimum alone", 4, undefined, { groups: 1, groupSize: 2, decodeRanks: 2 }],
  ] as const)("keep the budget where %s", (_, gpuBudget, decided, size) => {
    expect(sizeInForce(specOf({ gpuBudget }), decided)).toEqual(size);
    const doubled = specOf({ gpuBudget: 2 * gpuBudget }, 2);
    expect(sizeInForce(doubled, decided)).toEqual(size);
  });

  it("are the least within the budget when a deployment wakes as scaling to zero was switched off", () => {
    const asleep = scale(0, 8, 0);
    const allowed = specOf({ gpuBudget: 9, scaleToZero: { enabled: true } });
    expect(sizeInForce(allowed, asleep)).toEqual({ groups: 0, groupSize: 8, decodeRanks: 0 });
    expect(sizeInForce(specOf({ gpuBudget: 9 }), asleep)).toEqual({
      groups: 1,
      groupSize: 4,
      decodeRanks: 2,
    });
  });

  it("stay as they were decided on within ranges and budget, and never exceed these", () => {
    const count = fc.integer({ min: 0, max: 12 });
    fc.assert(
      fc.property(
        count,
        count,
        count,
        fc.integer({ min: 4, max: 80 }),
        (groups, degree, ranks, gpuBudget) => {
          const spec = specOf({ gpuBudget });
          const size = sizeInForce(spec, scale(groups, Math.max(1, degree), ranks));
          expect(gpusOf({ tensorDegree: 1 }, size)).toBeLessThanOrEqual(gpuBudget);
          expect(sizeInForce(spec, scale(size.groups, size.groupSize, size.decodeRanks))).toEqual(size);
        },
      ),
    );
  });

  it("take what a group or the pool needs to serve down with them", () => {
    const { prefill, decode } = withSizeInForce(specOf({ gpuBudget: 5 }), scale(1, 8, 4));
    expect(prefill.sequenceParallel).toMatchObject({ degree: 2, minDegree: 2 });
    expect(decode).toMatchObject({ ranks: 3, minRanks: 3 });
  });
});
