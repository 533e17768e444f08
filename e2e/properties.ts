/** npm run properties: every property test, round after round with seeds of their own, until one gives a counterexample. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pythonEnv } from "./cluster/pythonEnv.ts";
import { execute } from "./suite/stage.ts";

const USAGE = `usage: npm run properties -- [--rounds N] [--seed N]

Runs the property tests of the control plane (fast-check) and of the engine (hypothesis) with other seeds than those
that npm test uses, and stops at the first counterexample.

  --rounds N  how many seeds (default 10)
  --seed N    the first one; each round adds one (default: from the clock)

CSPS_PROPERTY_SEED=N npm run test:ts runs the control plane's with the seed of a round again.`;

const ROOT = join(import.meta.dirname, "..");
const ENGINE = join(ROOT, "runtime", "engine");
const HOUR = 3_600_000;

function using(library: string, pattern: string, cwd: string): string[] {
  const exclude = (path: string): boolean => path.includes("node_modules");
  return globSync(pattern, { cwd, exclude })
    .filter((file) => readFileSync(join(cwd, file), "utf8").includes(library))
    .sort();
}

async function round(seed: number): Promise<boolean> {
  const env = { CSPS_PROPERTY_SEED: String(seed) };
  const vitest = join(ROOT, "node_modules", ".bin", "vitest");
  const files = using('from "fast-check"', "{crds,operator,runtime}/**/*.test.ts", ROOT);
  const controlPlane = [vitest, "run", "--reporter=dot", ...files];
  if ((await execute({ argv: controlPlane, cwd: ROOT, env, deadlineMs: HOUR })) !== 0) return false;
  const { python, modelFile } = await pythonEnv();
  const engine = [python, "-m", "pytest", "-q", "-n2", `--hypothesis-seed=${seed}`];
  return (
    (await execute({
      argv: [...engine, ...using("from hypothesis", "tests/**/test_*.py", ENGINE)],
      cwd: ENGINE,
      env: { ...env, CSPS_TEST_MODEL: modelFile, OMP_NUM_THREADS: "1" },
      deadlineMs: HOUR,
    })) === 0
  );
}

function wholeNumber(name: string, value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new Error(`--${name} is ${value} and must be a whole number`);
  return Number(value);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "10" },
      seed: { type: "string", default: String(Math.floor(Date.now() / 1000) % 1_000_000_000) },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const first = wholeNumber("seed", values.seed);
  const rounds = wholeNumber("rounds", values.rounds);
  for (let seed = first; seed < first + rounds; seed++) {
    console.log(`== round ${seed - first + 1} of ${rounds}: seed ${seed}`);
    if (await round(seed)) continue;
    console.error(`seed ${seed} gave a counterexample; it is told above`);
    return 1;
  }
  console.log(`no counterexample in ${rounds} rounds`);
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  console.error(USAGE);
  process.exitCode = 2;
}
