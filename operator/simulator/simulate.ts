/** One trace through one serving policy. */
import { EventQueue } from "./eventQueue.ts";
import { reportOf, type Objectives, type Report } from "./report.ts";
import { Outcomes } from "./serving/job.ts";
import { buildSystem, type ServingPolicy, type SystemShape } from "./serving/system.ts";
import type { Trace } from "./traces/request.ts";

export interface Run {
  readonly trace: Trace;
  readonly policy: ServingPolicy;
  readonly shape: SystemShape;
  readonly objectives: Objectives;
}

/** Times of all requests, and when the last event was. */
export function play({ trace, policy, shape, objectives }: Run): {
  readonly outcomes: Outcomes;
  readonly endSeconds: number;
} {
  const events = new EventQueue();
  const outcomes = new Outcomes(trace.requests.length);
  const system = buildSystem(policy, shape, events, outcomes);
  const arrive = (index: number): void => {
    const request = trace.requests[index];
    if (request === undefined) return;
    // One arrival leads to the next, so that the queue holds what is under way and not the whole trace.
    events.at(request.arrivalSeconds, () => {
      arrive(index + 1);
      system.add({ index, request, ttftSeconds: objectives.ttftSeconds(request.inputTokens) });
    });
  };
  arrive(0);
  events.run();
  return { outcomes, endSeconds: events.now };
}

export function simulate(run: Run): Report {
  const { outcomes, endSeconds } = play(run);
  const gpus = run.shape.ranks * run.shape.cost.tensorDegree;
  return reportOf(run.trace, outcomes, { policy: run.policy, gpus, endSeconds, objectives: run.objectives });
}
