/**
 * npm run bench:engine: one rank of the engine beside transformers and, with --llama-cpp, llama.cpp. Prints tokens
 * per second of prefill and decode and their ratios. Arguments go to runtime/engine/bench/one_rank.py.
 * npm run bench:engine -- --emulated: the engine and its baselines on several ranks of this machine, each with a
 * share of a core and a link of its own (needs root). Arguments go to runtime/engine/bench/emulated.py.
 * npm run bench:engine -- --mixed: long prompts among short ones on such ranks, the engine against Sarathi-style
 * serving. Arguments go to runtime/engine/bench/mixed.
 * CSPS_PYTHON and CSPS_TEST_MODEL name an interpreter and a GGUF file to use instead of the cached ones.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pythonEnv, type PythonEnv } from "./cluster/pythonEnv.ts";

const ENGINE = join(import.meta.dirname, "..", "runtime", "engine");

async function environment(): Promise<PythonEnv> {
  const python = process.env["CSPS_PYTHON"];
  const modelFile = process.env["CSPS_TEST_MODEL"];
  if (python !== undefined && modelFile !== undefined) return { python, modelFile };
  const cached = await pythonEnv();
  return { python: python ?? cached.python, modelFile: modelFile ?? cached.modelFile };
}

const { python, modelFile } = await environment();
const argv = process.argv.slice(2);
const emulated = argv.includes("--mixed") ? "bench.mixed" : "bench.emulated";
const program = argv.includes("--emulated") || argv.includes("--mixed") ? emulated : "bench.one_rank";
const threads = /--threads[= ](\d+)/.exec(argv.join(" "))?.[1] ?? "1";
const bench = spawnSync(python, ["-m", program, "--model", modelFile, ...argv], {
  stdio: "inherit",
  env: {
    ...process.env,
    PYTHONPATH: ENGINE,
    OMP_NUM_THREADS: threads,
    TRANSFORMERS_VERBOSITY: "error",
    HF_HUB_OFFLINE: "1",
  },
});
if (bench.error !== undefined) throw bench.error;
process.exitCode = bench.status ?? 1;
