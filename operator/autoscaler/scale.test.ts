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

function decided(policy: ReturnType<typeof policyOf>, sparseAboveTokens?: number): ScalingDecision {
  return {
    input: anInput({ policy }),
    size: { groups: 2, groupSize: 2, decodeRanks: 1 },
    degrees: { short: 1, long: 2 },
    ...(sparseAboveTokens !== undefined && { sparseAboveTokens }),
    reasons: [],
    refusals: [],
    wishes: [],
    memory: noMemory,
  };
}

it("has classes computed exactly but for those that the decision thins", () => {
  const attention = (sparseAboveTokens?: number) =>
    scaleOf(decided(policyOf(knob), sparseAboveTokens), undefined).degrees?.map((one) => one.attention);
  expect(attention()).toEqual(["dense", "dense"]);
  expect(attention(8_192)).toEqual(["dense", "auto"]);
  expect(attention(4_095)).toEqual(["auto", "auto"]);
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
