import { describe, expect, it } from "vitest";
import { h100Nodes } from "../planning/cost/gpus.ts";
import { llama8b } from "../planning/cost/modelShape.ts";
import { deriveProfile } from "../planning/cost/profile.ts";
import type { ScalingPolicy } from "../planning/scaling/decision.ts";
import { EventQueue } from "./eventQueue.ts";
import { Outcomes } from "./serving/job.ts";
import { ScaledSystem } from "./serving/scaled.ts";
import { objectivesOf } from "./setting.ts";
import { simulateScaled } from "./simulateScaled.ts";
import type { TraceRequest } from "./traces/request.ts";
import { synthesize } from "./traces/synthetic.ts";

const policy: ScalingPolicy = {
  classes: [
    { name: "short", upToTokens: 16_384, ttftSeconds: 1.5 },
    { name: "long", upToTokens: 1_048_576, ttftSeconds: 6 },
  ],
  tbtSeconds: 0.03,
  bounds: {
    groups: { min: 1, max: 8 },
    decodeRanks: { min: 1, max: 16 },
    groupSizes: [4],
    gpuBudget: 64,
    ratio: { min: 0, max: 100 },
  },
  utilisation: 0.75,
  consolidation: 0.8,
  drainSeconds: 60,
  stabilizationMs: 300_000,
  maxSampleAgeMs: 30_000,
  quorum: 1,
};

function playScaled(requests: readonly TraceRequest[]) {
  const events = new EventQueue();
  const outcomes = new Outcomes(requests.length);
  const shape = {
    cost: deriveProfile(llama8b, h100Nodes, 1),
    policy,
    start: { groups: 1, groupSize: 4, decodeRanks: 1 },
    startupSeconds: 60,
    assumedOutputTokens: 250,
  };
  const system = new ScaledSystem(shape, events, outcomes);
  requests.forEach((request, index) => {
    events.at(request.arrivalSeconds, () => {
      system.add({ index, request, ttftSeconds: 2 });
    });
  });
  events.run();
  return { outcomes, system };
}

const steady = (rate: number, seconds: number, seed: number) =>
  synthesize({ requests: Math.round(rate * seconds), requestsPerSecond: rate, seed, maxInputTokens: 120_000 })
    .requests;

describe("the csps system under the operator's planner", () => {
  it("grows with a step of load, shrinks after it, and answers every request", () => {
    const later = (from: number, requests: readonly TraceRequest[]) =>
      requests.map((one) => ({ ...one, arrivalSeconds: one.arrivalSeconds + from }));
    const requests = [
      ...steady(1, 900, 1),
      ...later(900, steady(20, 900, 2)),
      ...later(1_900, steady(1, 2_400, 3)),
    ];
    const { outcomes, system } = playScaled(requests);
    const groups = system.sizes.map((size) => size.groups);
    expect(Math.max(...groups)).toBeGreaterThanOrEqual(3);
    expect(groups.at(-1)).toBeLessThan(Math.max(...groups));
    expect(outcomes.lastSeconds.some((seconds) => Number.isNaN(seconds))).toBe(false);
  });

  it("turns back at most once in half an hour of constant noisy load, and costs less than the peak all the time", () => {
    const { system, outcomes } = playScaled(steady(8, 1_800, 4));
    expect(system.reversals).toBeLessThanOrEqual(1);
    const seconds = outcomes.lastSeconds.reduce((a, b) => Math.max(a, b), 0);
    const { groups, decodeRanks } = policy.bounds;
    expect(system.gpuSeconds).toBeLessThan(seconds * (groups.max * 4 + decodeRanks.max));
    expect(system.gpuSeconds).toBeGreaterThan(seconds * 4);
  });

  it("reports what it used and not what it might have used", () => {
    const trace = synthesize({ requests: 1_000, requestsPerSecond: 1, maxInputTokens: 60_000 });
    const shape = {
      cost: deriveProfile(llama8b, h100Nodes, 1),
      ranks: 32,
      prefillRanks: 16,
      groupSize: 4,
      chunkTokens: 2048,
    };
    const report = simulateScaled({ trace, shape, objectives: objectivesOf(20_000, 0.05) });
    expect(report).toMatchObject({ stuck: 0, refused: 0, gpus: 32 });
    expect(report.gpuHours).toBeLessThan((report.gpus * report.virtualSeconds) / 3600);
    expect(report.sizes.length).toBeGreaterThan(1);
  });

  it("refuses what it can't hold and ends", () => {
    const requests = [5_000_000, 300_000, 1_000].map((inputTokens, index) => ({
      arrivalSeconds: index * 400,
      inputTokens,
      outputTokens: 20,
    }));
    const { outcomes } = playScaled(requests);
    expect(outcomes.refused).toBe(1);
    expect([...outcomes.lastSeconds].filter((seconds) => Number.isNaN(seconds))).toHaveLength(1);
  });
});
