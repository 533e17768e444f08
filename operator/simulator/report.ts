/** What a run comes to: times as mean and percentiles, throughput, goodput, GPU-hours. */
import type { Outcomes } from "./serving/job.ts";
import type { Trace } from "./traces/request.ts";

export interface Distribution {
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export interface Report {
  readonly trace: string;
  readonly synthetic: boolean;
  readonly policy: string;
  readonly gpus: number;
  readonly requests: number;
  readonly refused: number;
  /** Neither answered nor refused when no event was left: a prompt that could never start. */
  readonly stuck: number;
  readonly ttftSeconds: Distribution;
  /** Mean gap between tokens of a request, over requests of two tokens and more. */
  readonly tbtSeconds: Distribution;
  readonly responseSeconds: Distribution;
  /** Of prompts that were answered, over the whole run. */
  readonly inputTokensPerSecond: number;
  readonly outputTokensPerSecond: number;
  /** Requests per second that met both objectives. */
  readonly goodputPerSecond: number;
  /** Share of all requests that met both objectives. */
  readonly attainment: number;
  readonly gpuHours: number;
  readonly virtualSeconds: number;
}

export interface Objectives {
  readonly ttftSeconds: (inputTokens: number) => number;
  readonly tbtSeconds: number;
}

export interface Setting {
  readonly policy: string;
  readonly gpus: number;
  readonly endSeconds: number;
  readonly objectives: Objectives;
}

export function reportOf(trace: Trace, outcomes: Outcomes, setting: Setting): Report {
  const { requests } = trace;
  const ttft: number[] = [];
  const tbt: number[] = [];
  const response: number[] = [];
  let inputTokens = 0;
  let outputTokens = 0;
  let good = 0;
  requests.forEach((request, index) => {
    const first = outcomes.firstSeconds[index] ?? Number.NaN;
    const last = outcomes.lastSeconds[index] ?? Number.NaN;
    if (Number.isNaN(last)) return;
    const toFirst = first - request.arrivalSeconds;
    const gap = request.outputTokens > 1 ? (last - first) / (request.outputTokens - 1) : 0;
    ttft.push(toFirst);
    if (request.outputTokens > 1) tbt.push(gap);
    response.push(last - request.arrivalSeconds);
    inputTokens += request.inputTokens;
    outputTokens += request.outputTokens;
    const { objectives } = setting;
    if (toFirst <= objectives.ttftSeconds(request.inputTokens) && gap <= objectives.tbtSeconds) good += 1;
  });
  const seconds = setting.endSeconds;
  return {
    trace: trace.name,
    synthetic: trace.synthetic,
    policy: setting.policy,
    gpus: setting.gpus,
    requests: requests.length,
    refused: outcomes.refused,
    stuck: requests.length - outcomes.refused - response.length,
    ttftSeconds: distribution(ttft),
    tbtSeconds: distribution(tbt),
    responseSeconds: distribution(response),
    inputTokensPerSecond: inputTokens / seconds,
    outputTokensPerSecond: outputTokens / seconds,
    goodputPerSecond: good / seconds,
    attainment: good / requests.length,
    gpuHours: (setting.gpus * seconds) / 3600,
    virtualSeconds: seconds,
  };
}

export function distribution(values: readonly number[]): Distribution {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  const mean = sorted.reduce((sum, one) => sum + one, 0) / sorted.length;
  return { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}
