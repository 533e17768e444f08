/** A recorded run of one replica, the same run played, and the rates with which the two agree best. */
import type { Hardware } from "../../planning/cost/hardware.ts";
import type { ModelShape } from "../../planning/cost/modelShape.ts";
import { deriveProfile } from "../../planning/cost/profile.ts";
import { EventQueue } from "../eventQueue.ts";
import { Outcomes } from "../serving/job.ts";
import { MixedReplicas } from "../serving/mixed.ts";
import { TraceError } from "../traces/request.ts";

export interface RecordedRequest {
  readonly arrivalSeconds: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly ttftSeconds: number;
  /** Mean time of the tokens after the first. */
  readonly tpotSeconds: number;
}

export interface Replica {
  readonly model: ModelShape;
  readonly tensorDegree: number;
}

/** What is fitted. */
export interface Rates {
  readonly flops: number;
  readonly weightBytesPerSecond: number;
  readonly scanBytesPerSecond: number;
  readonly layerSeconds: number;
}

/** The recorded engine's limits: vLLM's max_num_batched_tokens and max_num_seqs. */
const stepTokens = 2_048;
const mostRequests = 128;

/** Fields of the recording, each a number. @throws TraceError */
export function parseRun(name: string, text: string): readonly RecordedRequest[] {
  let start: number | undefined;
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line, index) => {
      const record = JSON.parse(line) as Readonly<Record<string, unknown>>;
      const field = (key: string): number => {
        const value = record[key];
        if (typeof value === "number" && Number.isFinite(value)) return value;
        throw new TraceError(name, index + 1, key, "not a number");
      };
      const queued = field("queued_ts");
      start ??= queued;
      const [first, last] = [field("first_token_ts"), field("last_token_ts")];
      const outputTokens = field("output_toks");
      return {
        arrivalSeconds: queued - start,
        inputTokens: field("input_toks"),
        outputTokens,
        ttftSeconds: first - queued,
        tpotSeconds: (last - first) / Math.max(1, outputTokens - 1),
      };
    });
}

export function playRun(
  replica: Replica,
  rates: Rates,
  requests: readonly RecordedRequest[],
): readonly RecordedRequest[] {
  const cost = deriveProfile(replica.model, hardwareOf(rates), replica.tensorDegree);
  const events = new EventQueue();
  const outcomes = new Outcomes(requests.length);
  const options = { cost, replicas: 1, stepTokens, room: Infinity, most: mostRequests };
  const replicas = new MixedReplicas(events, outcomes, options);
  requests.forEach((request, index) => {
    events.at(Math.max(0, request.arrivalSeconds), () => {
      replicas.add({ index, request, ttftSeconds: Infinity });
    });
  });
  events.run();
  return requests.map((request, index) => {
    const first = outcomes.firstSeconds[index] ?? Number.NaN;
    const last = outcomes.lastSeconds[index] ?? Number.NaN;
    return {
      ...request,
      ttftSeconds: first - request.arrivalSeconds,
      tpotSeconds: (last - first) / Math.max(1, request.outputTokens - 1),
    };
  });
}

function hardwareOf(rates: Rates): Hardware {
  const link = { name: "PCIe", bytesPerSecond: 50e9, ringBytesPerSecond: 50e9, latencySeconds: 10e-6 };
  const gpu = {
    name: "RTX PRO 6000",
    flops: rates.flops,
    gemmEfficiency: 1,
    attentionEfficiency: 0.7,
    weightBytesPerSecond: rates.weightBytesPerSecond,
    scanBytesPerSecond: rates.scanBytesPerSecond,
    memoryBytes: 96e9,
    layerSeconds: rates.layerSeconds,
    pieceSeconds: 15e-6,
  };
  return { gpu, gpusPerNode: 8, nodeLink: link, networkLink: link };
}

const guess: Rates = {
  flops: 3e14,
  weightBytesPerSecond: 1.5e12,
  scanBytesPerSecond: 1.2e12,
  layerSeconds: 60e-6,
};

/** Coordinate search over factors of each rate, finer each time that none helps, on requests before `until`. */
export function fitRun(replica: Replica, requests: readonly RecordedRequest[], until: number): Rates {
  const fitted = requests.slice(0, until);
  const miss = (rates: Rates): number => {
    const played = playRun(replica, rates, requests).slice(0, until);
    const off = (what: "ttftSeconds" | "tpotSeconds") =>
      mean(fitted.map((one, index) => Math.abs((played[index]?.[what] ?? 0) - one[what]))) /
      mean(fitted.map((one) => one[what]));
    return off("ttftSeconds") + off("tpotSeconds");
  };
  let best = guess;
  let least = miss(best);
  for (let factor = 1.5; factor > 1.01;) {
    let helped = false;
    for (const key of Object.keys(guess) as (keyof Rates)[]) {
      for (const by of [factor, 1 / factor]) {
        const tried = { ...best, [key]: best[key] * by };
        const missed = miss(tried);
        if (missed < least) [best, least, helped] = [tried, missed, true];
      }
    }
    if (!helped) factor = Math.sqrt(factor);
  }
  return best;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / values.length;
}
