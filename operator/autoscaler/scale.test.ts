import { expect, it } from "vitest";
import { cspsDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import { scalingPolicy } from "../planning/autoscaling/policy.ts";
import type { ScalingDecision } from "../planning/scaling/decision.ts";
import { noMemory } from "../planning/scaling/decision.ts";
import { anInput } from "../planning/scaling/testing/builders.ts";
import { scaleOf } from "./scale.ts";

const classes = [
  { name: "short", upToTokens: 8_192, ttftMs: 500 },
  { name: "long", upToTokens: 131_072, ttftMs: 5_000 },
];

function policyOf(sparseAttention: object, mode = "Enforce") {
  return scalingPolicy(
    cspsDeploymentSpec.parse({
      model: {
        name: "m",
        source: { image: { reference: "m:1" } },
        contextLength: 131_072,
        attentionHeads: 32,
      },
      prefill: { groups: 1, sequenceParallel: { degree: 2 }, sparseAttention },
      decode: { ranks: 1 },
      slo: { classes },
      autoscaling: { mode },
    }),
  );
}

const knob = { mode: "UnderPressure", budgetPercent: 40, minTokens: 4_096 };

function decided(
  policy: ReturnType<typeof policyOf>,
  level = 0,
  degrees: Readonly<Record<string, number>> = { short: 1, long: 2 },
): ScalingDecision {
  return {
    input: anInput({ policy }),
    size: { groups: 2, groupSize: 2, decodeRanks: 1 },
    degrees,
    reasons: [],
    refusals: [],
    wishes: [],
    memory: { ...noMemory, sparsity: { level, wishes: [] } },
  };
}

const attentionOf = ({ degrees }: ReturnType<typeof scaleOf>) => degrees?.map(({ attention }) => attention);

it("has classes computed exactly but for those that the decision thins", () => {
  const attention = (level: number) => attentionOf(scaleOf(decided(policyOf(knob), level), undefined));
  expect(attention(0)).toEqual(["dense", "dense"]);
  expect(attention(1)).toEqual(["dense", "auto"]);
  expect(attention(2)).toEqual(["auto", "auto"]);
});

it("says of every class whether it is exact, also before the first decision and when nobody asks any more", () => {
  const held = scaleOf(decided(policyOf(knob), 0, {}), undefined);
  expect(held.degrees).toEqual([
    { name: "short", upToTokens: 8_192, degree: 0, attention: "dense" },
    { name: "long", upToTokens: 131_072, degree: 0, attention: "dense" },
  ]);
  const pressed = scaleOf(decided(policyOf(knob), 2), held);
  const silent = scaleOf(decided(policyOf(knob), 0, {}), pressed);
  expect(silent.degrees?.map(({ degree }) => degree)).toEqual([1, 2]);
  expect(attentionOf(silent)).toEqual(["dense", "dense"]);
});

it("keeps the degree of a class that nobody asks for, as far as groups still have so many ranks", () => {
  const policy = policyOf({ mode: "Disabled" });
  const before = scaleOf(decided(policy, 0, { short: 1, long: 2 }), undefined);
  const after = { ...decided(policy, 0, { short: 1 }), size: { groups: 1, groupSize: 1, decodeRanks: 1 } };
  expect(scaleOf(after, before).degrees?.map(({ degree }) => degree)).toEqual([1, 1]);
  expect(scaleOf(decided(policy, 0, {}), undefined).degrees).toBeUndefined();
});

it("says nothing of attention where it is no knob", () => {
  for (const mode of ["Disabled", "Enabled"]) {
    const scale = scaleOf(decided(policyOf({ ...knob, mode })), undefined);
    expect(scale.degrees?.every((one) => !("attention" in one))).toBe(true);
  }
});

it("plans with the deployment's budget and least length, and with no knob that has nothing to turn", () => {
  expect(policyOf(knob).sparse).toMatchObject({ selection: { budget: 0.4 }, denseUpToTokens: 4_095 });
  expect(policyOf({ ...knob, budgetPercent: 100 }).sparse).toBeUndefined();
  expect(policyOf({ ...knob, qualityFloorPercent: 100 }).sparse).toBeUndefined();
  expect(policyOf(knob, "Advise").sparse).toBeUndefined();
});
