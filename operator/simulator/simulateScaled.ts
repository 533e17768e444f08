/** One trace through the csps system under the operator's scaling planner. */
import type { ScalingPolicy, Size } from "../planning/scaling/decision.ts";
import { EventQueue } from "./eventQueue.ts";
import { reportOf, type Objectives, type Report } from "./report.ts";
import { Outcomes } from "./serving/job.ts";
import { ScaledSystem } from "./serving/scaled.ts";
import type { Run } from "./simulate.ts";
import type { Trace } from "./traces/request.ts";

export interface ScaledReport extends Report {
  /** Most GPUs that the planner may use; `gpuHours` counts those that it did. */
  readonly gpus: number;
  /** Changes of a role against the one before, within half an hour of it. */
  readonly reversals: number;
  readonly sizes: readonly Size[];
}

const startupSeconds = 60;
const shortestClass = 4_096;
const classes = 9;

export function simulateScaled({ trace, shape, objectives }: Omit<Run, "policy">): ScaledReport {
  const events = new EventQueue();
  const outcomes = new Outcomes(trace.requests.length);
  const { cost, ranks, prefillRanks, groupSize } = shape;
  const start = { groups: prefillRanks / groupSize, groupSize, decodeRanks: ranks - prefillRanks };
  const gpuBudget = ranks * cost.tensorDegree;
  const policy = policyOf(objectives, { gpuBudget, groupSize, ranks });
  const scaled = { cost, policy, start, startupSeconds, assumedOutputTokens: 300 };
  const system = new ScaledSystem(scaled, events, outcomes);
  arriveInTurn(trace, objectives, events, system);
  events.run();
  const setting = { policy: "csps-scaled", gpus: gpuBudget, endSeconds: events.now, objectives };
  const report = reportOf(trace, outcomes, setting);
  return { ...report, gpuHours: system.gpuSeconds / 3600, reversals: system.reversals, sizes: system.sizes };
}

function arriveInTurn(trace: Trace, objectives: Objectives, events: EventQueue, system: ScaledSystem): void {
  const arrive = (index: number): void => {
    const request = trace.requests[index];
    if (request === undefined) return;
    events.at(request.arrivalSeconds, () => {
      arrive(index + 1);
      system.add({ index, request, ttftSeconds: objectives.ttftSeconds(request.inputTokens) });
    });
  };
  arrive(0);
}

/** Classes that double in length; each is held to the objective of its shortest prompts. */
function policyOf(
  objectives: Objectives,
  size: { readonly gpuBudget: number; readonly groupSize: number; readonly ranks: number },
): ScalingPolicy {
  return {
    classes: Array.from({ length: classes }, (_, index) => ({
      name: `up to ${shortestClass * 2 ** index}`,
      upToTokens: shortestClass * 2 ** index,
      ttftSeconds: objectives.ttftSeconds(index === 0 ? 0 : shortestClass * 2 ** (index - 1)),
    })),
    tbtSeconds: objectives.tbtSeconds,
    bounds: {
      groups: { min: 1, max: Math.floor((size.ranks - 1) / size.groupSize) },
      decodeRanks: { min: 1, max: size.ranks - size.groupSize },
      groupSizes: [size.groupSize],
      gpuBudget: size.gpuBudget,
      ratio: { min: 0, max: size.ranks },
    },
    utilisation: 0.75,
    consolidation: 0.8,
    drainSeconds: 60,
    stabilizationMs: 300_000,
    maxSampleAgeMs: 30_000,
    quorum: 1,
  };
}
