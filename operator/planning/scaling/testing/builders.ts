/** Inputs of a scaling decision with defaults: an 8B model on H100, three length classes, fresh metrics. */
import { h100Nodes } from "../../cost/gpus.ts";
import { llama8b } from "../../cost/modelShape.ts";
import { deriveProfile } from "../../cost/profile.ts";
import type { Bounds, ClassDemand, DecodeDemand, Demand, ScalingInput, ScalingPolicy } from "../decision.ts";
import { noMemory } from "../decision.ts";

export function aPolicy(
  over: Partial<Omit<ScalingPolicy, "bounds">> = {},
  bounds: Partial<Bounds> = {},
): ScalingPolicy {
  return {
    classes: [
      { name: "short", upToTokens: 8_192, ttftSeconds: 0.5 },
      { name: "long", upToTokens: 65_536, ttftSeconds: 2 },
      { name: "huge", upToTokens: 1_048_576, ttftSeconds: 10 },
    ],
    tbtSeconds: 0.05,
    bounds: {
      groups: { min: 1, max: 32 },
      decodeRanks: { min: 1, max: 32 },
      groupSizes: [1, 2, 4, 8],
      gpuBudget: 512,
      ratio: { min: 0, max: 100 },
      ...bounds,
    },
    utilisation: 0.75,
    consolidation: 0.8,
    drainSeconds: 60,
    stabilizationMs: 300_000,
    maxSampleAgeMs: 30_000,
    quorum: 0.67,
    ...over,
  };
}

export function aClass(name: string, tokens: number, arrivalsPerSecond: number, queued = 0): ClassDemand {
  return {
    name,
    arrivalsPerSecond,
    queued,
    p90Tokens: tokens,
    meanTokens: tokens,
    meanSquareTokens: tokens ** 2,
  };
}

export function aDecode(over: Partial<DecodeDemand> = {}): DecodeDemand {
  return {
    arrivalsPerSecond: 2,
    meanOutputTokens: 300,
    meanContextTokens: 8_000,
    liveContextTokens: 40_000,
    p90TbtSeconds: 0.01,
    ...over,
  };
}

export function aDemand(over: Partial<Demand> = {}): Demand {
  return {
    classes: [aClass("short", 4_000, 2), aClass("long", 30_000, 0.5), aClass("huge", 200_000, 0.02)],
    decode: aDecode(),
    forecastRatio: 1,
    ...over,
  };
}

export function anInput(over: Partial<ScalingInput> = {}): ScalingInput {
  const nowMs = over.nowMs ?? 1_000_000;
  return {
    nowMs,
    policy: aPolicy(),
    cost: deriveProfile(llama8b, h100Nodes, 1),
    current: { groups: 2, groupSize: 8, decodeRanks: 4 },
    pendingPods: 0,
    expectedPods: 2,
    samples: [
      { podUid: "a", atMs: nowMs - 1_000 },
      { podUid: "b", atMs: nowMs - 1_000 },
    ],
    demand: aDemand(),
    memory: noMemory,
    ...over,
  };
}
