/**
 * The simulator beside two recorded runs of vLLM: rates are fitted to the first half of the requests of each, and the
 * error is that of the second half, which came later, to a longer queue. A mean may be off by so much there.
 */
import { join } from "node:path";
import { llama8b } from "../../planning/cost/modelShape.ts";
import { readText } from "../dataFolder.ts";
import { qwen32b } from "../knownModels.ts";
import { percent } from "../percent.ts";
import { fitRun, mean, parseRun, playRun, type Rates, type RecordedRequest } from "./recordedRun.ts";

export const mostError = 0.08;

const runs = [
  { folder: "rtxpro6000_llama31_8b", model: llama8b, tensorDegree: 1 },
  { folder: "rtxpro6000x2_qwen3_32b", model: qwen32b, tensorDegree: 2 },
];

export interface Mean {
  readonly what: "TTFT" | "TPOT";
  readonly recordedSeconds: number;
  readonly simulatedSeconds: number;
  /** Of the mean; above 0 where the simulator is slower. */
  readonly error: number;
  /** Errors of single requests, without their sign. */
  readonly p50Error: number;
  readonly p90Error: number;
}

export interface Comparison {
  readonly run: string;
  readonly requests: number;
  readonly rates: Rates;
  readonly fitted: readonly Mean[];
  readonly heldOut: readonly Mean[];
}

/** @param data The folder of recordings. @throws TraceError, and where a file is missing. */
export function comparisons(data: string): readonly Comparison[] {
  return runs.map(({ folder, ...replica }) => {
    const recorded = parseRun(folder, readText(join(data, "recordings", folder, "requests.jsonl")));
    const half = Math.floor(recorded.length / 2);
    const rates = fitRun(replica, recorded, half);
    const played = playRun(replica, rates, recorded);
    const meansOf = (from: number, to?: number) => means(recorded.slice(from, to), played.slice(from, to));
    return {
      run: folder,
      requests: recorded.length,
      rates,
      fitted: meansOf(0, half),
      heldOut: meansOf(half),
    };
  });
}

/** Every mean of the held-out halves is near enough. */
export function near(all: readonly Comparison[]): boolean {
  return all.every(({ heldOut }) => heldOut.every(({ error }) => Math.abs(error) <= mostError));
}

export function means(
  recorded: readonly RecordedRequest[],
  played: readonly RecordedRequest[],
): readonly Mean[] {
  return (["ttftSeconds", "tpotSeconds"] as const).map((field) => {
    const [truth, found] = [recorded, played].map((all) => mean(all.map((one) => one[field])));
    const each = recorded
      .map((one, index) => Math.abs((played[index]?.[field] ?? Number.NaN) / one[field] - 1))
      .sort((a, b) => a - b);
    const at = (share: number) => each[Math.floor(share * each.length)] ?? Number.NaN;
    return {
      what: field === "ttftSeconds" ? "TTFT" : "TPOT",
      recordedSeconds: truth ?? Number.NaN,
      simulatedSeconds: found ?? Number.NaN,
      error: (found ?? Number.NaN) / (truth ?? Number.NaN) - 1,
      p50Error: at(0.5),
      p90Error: at(0.9),
    };
  });
}

export function told({ run, requests, rates, fitted, heldOut }: Comparison): string {
  const half = Math.floor(requests / 2);
  return [
    `${run}: ${requests} requests, rates from the first ${half}`,
    JSON.stringify(rates),
    `  fitted half: ${fitted.map(meanTold).join(" | ")}`,
    `  held-out half: ${heldOut.map(meanTold).join(" | ")}`,
  ].join("\n");
}

function meanTold({ what, recordedSeconds, simulatedSeconds, error, p50Error, p90Error }: Mean): string {
  const both = `mean ${recordedSeconds.toFixed(4)} s recorded, ${simulatedSeconds.toFixed(4)} s simulated`;
  const single = `of single requests p50 ${percent(p50Error)}, p90 ${percent(p90Error)}`;
  return `${what} ${both}, ${percent(error)}; ${single}`;
}
