/**
 * npm run bench:accuracy: what sparse attention costs in accuracy, on long prompts with the real small model. Prints
 * one table of scores. Arguments go to runtime/engine/bench/accuracy; CSPS_PYTHON and CSPS_TEST_MODEL name an
 * interpreter and a GGUF file to use instead of the cached ones.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pythonEnv } from "./cluster/pythonEnv.ts";

const engine = join(import.meta.dirname, "..", "runtime", "engine");
const python = process.env["CSPS_PYTHON"] ?? (await pythonEnv()).python;
const model = process.env["CSPS_TEST_MODEL"] ?? (await pythonEnv()).modelFile;
const argv = ["-m", "bench.accuracy", "--model", model, ...process.argv.slice(2)];
const bench = spawnSync(python, argv, {
  stdio: "inherit",
  env: { ...process.env, PYTHONPATH: engine, OMP_NUM_THREADS: "1" },
});
if (bench.error !== undefined) throw bench.error;
process.exitCode = bench.status ?? 1;
