/** One trace through the csps system under an autoscaler: the report, the GPU-hours used and how often it turned back. */
import type { LengthClass, ScalingPolicy, Size } from "../planning/scaling/decision.ts";
import type { CostProfile } from "../planning/cost/profile.ts";
import type { Autoscaler } from "./autoscalers/autoscaler.ts";
import { EventQueue } from "./eventQueue.ts";
import { reportOf, type Objectives, type Report } from "./report.ts";
import { Outcomes } from "./serving/job.ts";
import { ScaledSystem } from "./serving/scaled.ts";
import type { Trace } from "./traces/request.ts";

export interface ScaledReport extends Report {
  /** Changes of a role against the one before, within half an hour of it. */
  readonly reversals: number;
  /** Most of them within any half hour. */
  readonly mostReversalsInHalfHour: number;
  readonly sizes: ScaledSystem["sizes"];
}

export interface ScalingRun {
  readonly trace: Trace;
  readonly cost: CostProfile;
  readonly autoscaler: Autoscaler;
  readonly policy: ScalingPolicy;
  readonly start: Size;
  readonly startupSeconds: number;
  /** Demand is counted over so long. */
  readonly windowSeconds: number;
  readonly objectives: Objectives;
  /** The run is given up once its attainment can't reach so much. */
  readonly leastAttainment?: number;
}

const halfHourSeconds = 1800;

export function simulateScaled(run: ScalingRun): ScaledReport {
  const { trace, cost, objectives, policy, start } = run;
  const events = new EventQueue();
  const outcomes = new Outcomes(trace.requests.length);
  const shape = {
    cost,
    start,
    autoscaler: run.autoscaler,
    classes: policy.classes,
    mostDecodeRanks: policy.bounds.decodeRanks.max,
    startupSeconds: run.startupSeconds,
    windowSeconds: run.windowSeconds,
    assumedOutputTokens: 300,
  };
  const system = new ScaledSystem(shape, events, outcomes);
  arriveInTurn(trace, objectives, events, system);
  const mostLate = (1 - (run.leastAttainment ?? 0)) * trace.requests.length;
  events.run(() => outcomes.late > mostLate);
  system.account();
  const gpus = policy.bounds.gpuBudget;
  const setting = { policy: run.autoscaler.name, gpus, endSeconds: events.now, objectives };
  const times = reversalTimes(system.sizes);
  return {
    ...reportOf(trace, outcomes, setting),
    gpuHours: system.gpuSeconds / 3600,
    reversals: times.length,
    mostReversalsInHalfHour: Math.max(
      0,
      ...times.map((from) => times.filter((one) => one >= from && one < from + halfHourSeconds).length),
    ),
    sizes: system.sizes,
  };
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

function reversalTimes(sizes: ScaledSystem["sizes"]): readonly number[] {
  const times: number[] = [];
  for (const role of ["groups", "decodeRanks"] as const) {
    let last: { readonly atSeconds: number; readonly up: boolean } | undefined;
    for (const [index, { atSeconds, size }] of sizes.entries()) {
      const change = size[role] - (sizes[index - 1]?.size ?? size)[role];
      if (change === 0) continue;
      const up = change > 0;
      if (last !== undefined && last.up !== up && atSeconds - last.atSeconds < halfHourSeconds)
        times.push(atSeconds);
      last = { atSeconds, up };
    }
  }
  return times.sort((a, b) => a - b);
}

/** Classes a half octave wide; each is held to the objective of its shortest prompts. */
export function lengthClasses(objectives: Objectives): readonly LengthClass[] {
  const upTo = (index: number) => Math.round(4_096 * 2 ** (index / 2));
  return Array.from({ length: 17 }, (_, index) => ({
    name: `up to ${upTo(index)}`,
    upToTokens: upTo(index),
    ttftSeconds: objectives.ttftSeconds(index === 0 ? 0 : upTo(index - 1)),
  }));
}
