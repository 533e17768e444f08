/**
 * What the autoscalers are compared on: a trace, a profile, its objectives, the least and most that may run. What a
 * deployment leaves to the operator is as the operator has it.
 */
import { autoscaling } from "../../crds/schema/autoscaling.ts";
import { consolidation, utilisation } from "../planning/autoscaling/policy.ts";
import { kvTokensOfRank, minimumDegree } from "../planning/cost/memory.ts";
import type { CostProfile } from "../planning/cost/profile.ts";
import { noMemory, type Demand, type ScalingPolicy, type Size } from "../planning/scaling/decision.ts";
import { demandByClass } from "../planning/scaling/demand.ts";
import { planScaling } from "../planning/scaling/plan.ts";
import type { RoleBounds } from "./autoscalers/hpa.ts";
import type { Objectives } from "./report.ts";
import { lengthClasses } from "./simulateScaled.ts";
import { part } from "./traces/upscale.ts";
import type { Trace } from "./traces/request.ts";

export interface Scenario {
  readonly title: string;
  readonly trace: Trace;
  readonly cost: CostProfile;
  readonly objectives: Objectives;
}

export interface Prepared extends Scenario {
  readonly policy: ScalingPolicy;
  readonly bounds: RoleBounds;
  readonly least: Size;
  /** What the planner gives for the first five minutes: every autoscaler starts from it, as from a day that began before. */
  readonly start: Size;
  readonly startupSeconds: number;
  /** Time between two decisions of the operator. */
  readonly everySeconds: number;
  /** Demand is counted over so long. */
  readonly windowSeconds: number;
}

const most = 64;
const firstSeconds = 300;
const kvShare = 0.95;
const defaults = autoscaling.parse({});

export function prepare(scenario: Scenario): Prepared {
  const { trace, cost, objectives } = scenario;
  const longest = trace.requests.reduce(
    (tokens, one) => Math.max(tokens, one.inputTokens + one.outputTokens),
    0,
  );
  let groupSize = 2;
  while (groupSize < (minimumDegree(cost, longest) ?? 1)) groupSize *= 2;
  const decodeRanks = Math.ceil(longest / (kvTokensOfRank(cost) * kvShare));
  const least = { groups: 1, groupSize, decodeRanks };
  const bounds = { groups: { min: 1, max: most }, decodeRanks: { min: decodeRanks, max: most } };
  const policy: ScalingPolicy = {
    classes: lengthClasses(objectives),
    tbtSeconds: objectives.tbtSeconds,
    bounds: {
      ...bounds,
      groupSizes: [groupSize],
      gpuBudget: 2 * most * groupSize * cost.tensorDegree,
      ratio: { min: 0, max: most * groupSize },
    },
    utilisation,
    consolidation,
    drainSeconds: defaults.queueDrainSeconds,
    stabilizationMs: defaults.stabilizationSeconds * 1000,
    maxSampleAgeMs: defaults.maxSampleAgeSeconds * 1000,
    quorum: 1,
  };
  const start = sizeFor(cost, policy, least, firstDemand(policy, trace));
  const { intervalSeconds: everySeconds, windowSeconds } = defaults;
  return { ...scenario, policy, bounds, least, start, startupSeconds: 60, everySeconds, windowSeconds };
}

export function sizeFor(cost: CostProfile, policy: ScalingPolicy, current: Size, demand: Demand): Size {
  const samples = [{ podUid: "simulated", atMs: 0 }];
  const pods = { pendingPods: 0, expectedPods: 1 };
  return planScaling({ nowMs: 0, policy, cost, current, ...pods, samples, demand, memory: noMemory }).size;
}

function firstDemand(policy: ScalingPolicy, trace: Trace): Demand {
  const { requests } = part(trace, 0, firstSeconds);
  const sum = (of: (request: (typeof requests)[number]) => number) =>
    requests.reduce((total, request) => total + of(request), 0);
  const output = Math.max(
    1,
    sum(({ outputTokens }) => outputTokens),
  );
  return {
    classes: demandByClass(policy.classes, {
      arrivedTokens: requests.map(({ inputTokens }) => inputTokens),
      queuedTokens: [],
      windowSeconds: firstSeconds,
    }),
    decode: {
      arrivalsPerSecond: requests.length / firstSeconds,
      meanOutputTokens: output / Math.max(1, requests.length),
      meanContextTokens: sum((one) => one.outputTokens * one.inputTokens) / output,
      meanSquareContextTokens: sum((one) => one.outputTokens * one.inputTokens ** 2) / output,
      liveContextTokens: 0,
      p90TbtSeconds: 0,
    },
    forecastRatio: 1,
  };
}
