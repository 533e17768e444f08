/**
 * npm run test:gpu: the engine's kernels, its forward pass and, with two GPUs or more, its mesh over NCCL, on the
 * GPUs of this machine. Without one nothing is run and the exit status is 1.
 * npm run test:gpu -- --compile-only: compile every kernel for sm_80, sm_90 and sm_100, which needs no GPU.
 * CSPS_PYTHON and CSPS_TEST_MODEL name an interpreter and a GGUF file to use instead of the cached ones.
 */
import { join } from "node:path";
import { run } from "./cluster/command.ts";
import { pythonEnv } from "./cluster/pythonEnv.ts";
import { execute } from "./suite/stage.ts";

const ENGINE = join(import.meta.dirname, "..", "runtime", "engine");
const MINUTE = 60_000;
const MATRIX = ["--arch", "80", "90", "100", "--kind", "bf16", "fp16", "fp32", "--size", "64", "128"];

const asked = process.argv.slice(2);
const unknown = asked.find((argument) => argument !== "--compile-only");

async function interpreter(): Promise<{ python: string; environment: Record<string, string> }> {
  const python = process.env["CSPS_PYTHON"];
  const model = process.env["CSPS_TEST_MODEL"];
  const cached = python !== undefined && model !== undefined ? undefined : await pythonEnv();
  return {
    python: python ?? cached?.python ?? "python3",
    environment: {
      PYTHONPATH: ENGINE,
      CSPS_TEST_MODEL: model ?? cached?.modelFile ?? "",
      TRITON_DEFAULT_FP_FUSION: "1",
    },
  };
}

async function countGpus(python: string): Promise<number> {
  const count = await run(python, ["-c", "import torch; print(torch.cuda.device_count())"]);
  return Number(count.trim());
}

async function onGpus(python: string, environment: Record<string, string>): Promise<number> {
  const gpus = await countGpus(python);
  if (gpus === 0) {
    console.error(
      "test:gpu needs a CUDA device and torch sees none: NOTHING WAS RUN. --compile-only compiles the kernels without one.",
    );
    return 1;
  }
  if (gpus === 1) console.error("ONE GPU: the tests of the mesh over NCCL need two and are NOT RUN.");
  const ofOne = ["engine", "graphs", "decode_choice"].map((name) => `tests/gpu/test_${name}_on_gpu.py`);
  const folders = ["tests/kernels", ...(gpus === 1 ? ofOne : ["tests/gpu"])];
  const argv = [python, "-m", "pytest", "-ra", ...folders];
  return await execute({ argv, cwd: ENGINE, env: environment, deadlineMs: 30 * MINUTE });
}

if (unknown !== undefined) {
  console.error(`test:gpu knows --compile-only and no ${unknown}`);
  process.exitCode = 2;
} else {
  const { python, environment } = await interpreter();
  process.exitCode = asked.includes("--compile-only")
    ? await execute({
        argv: [python, join(ENGINE, "tests", "kernels", "compile_kernels.py"), ...MATRIX],
        cwd: ENGINE,
        env: environment,
        deadlineMs: 20 * MINUTE,
      })
    : await onGpus(python, environment);
}
