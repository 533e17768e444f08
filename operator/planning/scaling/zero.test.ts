import { describe, expect, it } from "vitest";
import { replay, planScaling } from "./plan.ts";
import type { ScalingInput } from "./decision.ts";
import { aPolicy, anInput } from "./testing/builders.ts";

const awake = { groups: 2, groupSize: 4, decodeRanks: 3 };
const asleep = { groups: 0, groupSize: 4, decodeRanks: 0 };
const idle = { afterIdleMs: 600_000, idleForMs: 600_000, waiting: 0 };
const away = { kind: "away", why: "the state store is full" } as const;
const policy = aPolicy({}, { decodeRanks: { min: 2, max: 8 } });

function decide(over: Partial<ScalingInput>) {
  const decision = planScaling(anInput({ policy, ...over }));
  expect(replay(decision)).toEqual(decision);
  return { size: decision.size, code: decision.reasons[0]?.code };
}

describe("scaling to zero", () => {
  it("gives all ranks back after the idle time, also when nothing was ever measured", () => {
    expect(decide({ current: awake, zero: idle, uncalibrated: "no report" })).toEqual({
      size: asleep,
      code: "ScaledToZero",
    });
  });

  it.each([
    ["it is not allowed", {}],
    ["somebody asked a moment ago", { zero: { ...idle, idleForMs: 599_999 } }],
    ["it is not known who asks", { zero: { ...idle, idleForMs: undefined } }],
    ["requests wait", { zero: { ...idle, waiting: 1 } }],
    ["metrics are missing", { zero: idle, demand: undefined }],
    ["pods are pending", { zero: idle, pendingPods: 1 }],
    ["the state store is away", { zero: idle, store: away }],
  ])("keeps ranks while %s", (_, over) => {
    expect(decide({ current: awake, ...over }).size.groups).toBeGreaterThan(0);
  });

  it("wakes the least size for one request that waits, whatever else is unknown", () => {
    const blind = { demand: undefined, samples: [], pendingPods: 3 };
    expect(decide({ current: asleep, zero: { ...idle, waiting: 1 }, ...blind })).toEqual({
      size: { groups: 1, groupSize: 4, decodeRanks: 2 },
      code: "Woken",
    });
  });

  it.each([
    [
      "the budget became too small for the group size",
      { gpuBudget: 5 },
      { groups: 1, groupSize: 2, decodeRanks: 2 },
    ],
    ["the group size was taken out", { groupSizes: [2, 8] }, { groups: 1, groupSize: 2, decodeRanks: 2 }],
    ["only larger groups are left", { groupSizes: [8] }, { groups: 1, groupSize: 8, decodeRanks: 2 }],
    [
      "the ratio of roles was bounded",
      { ratio: { min: 0, max: 1 } },
      { groups: 1, groupSize: 4, decodeRanks: 4 },
    ],
  ])("wakes within the bounds of now where %s", (_, bounds, size) => {
    const narrow = aPolicy({}, { ...policy.bounds, ...bounds });
    expect(decide({ current: asleep, policy: narrow, zero: { ...idle, waiting: 1 } })).toEqual({
      size,
      code: "Woken",
    });
  });

  it("stays asleep where the budget holds no group, and says so", () => {
    const none = aPolicy({}, { gpuBudget: 1 });
    expect(decide({ current: asleep, policy: none, zero: { ...idle, waiting: 1 } })).toEqual({
      size: asleep,
      code: "ContradictoryBounds",
    });
  });

  it("wakes while the state store is away, and not when a newer leader was there", () => {
    const waiting = { current: asleep, zero: { ...idle, waiting: 1 } };
    expect(decide({ ...waiting, store: away }).code).toBe("Woken");
    expect(decide({ ...waiting, store: { ...away, kind: "fenced" } })).toEqual({
      size: asleep,
      code: "Fenced",
    });
  });

  it("wakes when it is no longer allowed", () => {
    expect(decide({ current: asleep })).toMatchObject({ size: { groups: 1 }, code: "Woken" });
  });

  it("stays asleep while nobody asks, and says so when it can't tell", () => {
    expect(decide({ current: asleep, zero: idle, pendingPods: 2 })).toEqual({ size: asleep, code: "Asleep" });
    expect(decide({ current: asleep, zero: idle, demand: undefined })).toEqual({
      size: asleep,
      code: "MetricsMissing",
    });
  });
});

it("keeps the size of a deployment that nothing was measured of", () => {
  expect(decide({ current: awake, uncalibrated: "no prefill was reported yet" })).toEqual({
    size: awake,
    code: "Uncalibrated",
  });
});
