/**
 * The simulator beside two recorded runs of vLLM: rates are fitted to the first half of the requests of each, and the
 * error is that of the second half, which came later, to a longer queue.
 *
 *     node operator/simulator/calibrate/recordings.ts
 */
import { join } from "node:path";
import { llama8b, type ModelShape } from "../../planning/cost/modelShape.ts";
import { dataAbsent, dataFolder, readText } from "../dataFolder.ts";
import { fitRun, mean, parseRun, playRun, type RecordedRequest } from "./recordedRun.ts";

const qwen32b: ModelShape = {
  name: "qwen3-32b",
  layers: 64,
  hidden: 5120,
  queryHeads: 64,
  keyValueHeads: 8,
  headDim: 128,
  feedForward: 25_600,
  feedForwardMatrices: 3,
  vocabulary: 151_936,
  bytesPerElement: 2,
};

const runs = [
  { folder: "rtxpro6000_llama31_8b", model: llama8b, tensorDegree: 1 },
  { folder: "rtxpro6000x2_qwen3_32b", model: qwen32b, tensorDegree: 2 },
];
const mostError = 0.08;

const folder = dataFolder();
if (folder === undefined) console.log(`No recordings: ${dataAbsent}.`);
else for (const run of runs) compare(folder, run);

function compare(data: string, { folder: name, model, tensorDegree }: (typeof runs)[number]): void {
  const file = join(data, "recordings", name, "requests.jsonl");
  const recorded = parseRun(name, readText(file));
  const half = Math.floor(recorded.length / 2);
  const rates = fitRun({ model, tensorDegree }, recorded, half);
  const played = playRun({ model, tensorDegree }, rates, recorded);
  console.log(`\n${name}: ${recorded.length} requests, rates from the first ${half}`);
  console.log(JSON.stringify(rates));
  for (const [part, from, to] of [
    ["fitted half", 0, half],
    ["held-out half", half, recorded.length],
  ] as const) {
    console.log(
      `  ${part}: ${errors(recorded.slice(from, to), played.slice(from, to), part !== "fitted half")}`,
    );
  }
}

function errors(
  recorded: readonly RecordedRequest[],
  played: readonly RecordedRequest[],
  judged: boolean,
): string {
  return (["ttftSeconds", "tpotSeconds"] as const)
    .map((what) => {
      const [truth, found] = [recorded, played].map((all) => mean(all.map((one) => one[what])));
      const error = (found ?? 0) / (truth ?? 1) - 1;
      if (judged && !(Math.abs(error) <= mostError)) process.exitCode = 1;
      const each = recorded
        .map((one, index) => Math.abs((played[index]?.[what] ?? Number.NaN) / one[what] - 1))
        .sort((a, b) => a - b);
      const at = (share: number) => percent(each[Math.floor(share * each.length)] ?? Number.NaN);
      const told = `mean ${(truth ?? 0).toFixed(4)} s recorded, ${(found ?? 0).toFixed(4)} s simulated`;
      return `${what.slice(0, 4).toUpperCase()} ${told}, ${percent(error)}; of single requests p50 ${at(0.5)}, p90 ${at(0.9)}`;
    })
    .join(" | ");
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
