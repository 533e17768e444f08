/** The stages of `npm test`. In each lane (lanes.ts) what fails fastest comes first. */
import { join } from "node:path";
import { ensureBinaries } from "../cluster/binaries.ts";
import { cacheRoot } from "../cluster/cache.ts";
import { succeeds } from "../cluster/command.ts";
import { ensurePackages } from "../cluster/debian.ts";
import { pythonEnv } from "../cluster/pythonEnv.ts";
import { countJUnit, countVitest, runner } from "./report.ts";
import { check, type Command, type Stage } from "./stage.ts";

const MINUTE = 60_000;
/** What runs beside other stages has the time that they leave. */
const BESIDE_DEADLINE_MS = 120 * MINUTE;

async function ensureRedis(): Promise<void> {
  if (!(await succeeds("redis-server", ["--version"]))) await ensurePackages(["redis-server"]);
}

/** The engine compiles its products with packed weights, and its attention of single tokens, where it runs on CPUs. */
async function ensureCompiler(): Promise<void> {
  if (!(await succeeds("cc", ["--version"]))) await ensurePackages(["gcc", "libc6-dev"]);
}

/**
 * Tests of the engine that only compute, most of them on the real model, and wait for nothing but themselves, so that
 * they may be as slow as other stages make them. Who measures how long something takes is not among them.
 */
const PATIENT_TESTS = [
  "tests/baselines",
  "tests/compute/test_against_transformers.py",
  "tests/compute/test_dense_modes.py",
  "tests/compute/test_gguf_reader.py",
  "tests/compute/test_sampling.py",
  "tests/compute/test_sequence_parallel.py",
  "tests/compute/test_tensor_parallel.py",
  "tests/csa/test_decode_choice.py",
  "tests/csa/test_exactness.py",
  "tests/csa/test_prefill.py",
  "tests/csa/test_real_decode.py",
  "tests/csa/test_real_text.py",
  "tests/csa/test_retrieval.py",
  "tests/csa/test_schemes.py",
  "tests/csa/test_strided.py",
];

const beside = (stage: Stage): Stage => ({ ...stage, beside: true });

export function stages(root: string, reports: string): Stage[] {
  const bin = (name: string): string => join(root, "node_modules", ".bin", name);
  const engine = join(root, "runtime", "engine");
  const tool = (name: string, needs: string, argv: string[]): Stage =>
    check(name, needs, { argv, cwd: root, deadlineMs: BESIDE_DEADLINE_MS });
  const python = (name: string, argv: string[]): Stage => ({
    name,
    needs: "the Python environment",
    beside: true,
    run: async () => {
      const env = await pythonEnv();
      const command = { argv: [env.python, ...argv], cwd: engine, deadlineMs: BESIDE_DEADLINE_MS };
      return await check(name, "", command).run();
    },
  });
  // What a check knows of a file by its content, and so need not work out again.
  const kept = (name: string): string => join(cacheRoot(), "checks", name);
  const engineTests = async (report: string, which: readonly string[]): Promise<Command> => {
    const env = await pythonEnv();
    return {
      argv: [
        ...[env.python, "-m", "pytest", "-ra", `--junitxml=${report}`],
        // A file's tests share fixtures that are dear to make, so a file stays with one worker; the longest come first.
        ...["-n2", "--dist=loadfile", "--no-loadscope-reorder", ...which],
      ],
      cwd: engine,
      env: { CSPS_TEST_MODEL: env.modelFile, OMP_NUM_THREADS: "1" },
      deadlineMs: 90 * MINUTE,
    };
  };
  const typescriptReport = join(reports, "vitest.json");
  const pythonReport = join(reports, "pytest.xml");
  const computeReport = join(reports, "compute.xml");
  const kernelReport = join(reports, "kernels.xml");
  const clusterReport = join(reports, "cluster.json");
  return [
    tool("lint", "nothing", [bin("eslint"), ".", "--max-warnings", "0"]),
    tool("typecheck", "nothing", [
      ...[bin("tsc"), "--noEmit", "--incremental", "--tsBuildInfoFile", kept("tsc.json")],
    ]),
    tool("format", "nothing", [
      ...[bin("prettier"), "--check", "--log-level", "warn", "."],
      ...["--cache", "--cache-strategy", "content", "--cache-location", kept("prettier.json")],
    ]),
    tool("verify", "nothing", [bin("node"), "crds/generate/main.ts", "--check"]),
    python("ruff", ["-m", "ruff", "check", "."]),
    python("mypy", ["-m", "mypy", "--cache-dir", kept("mypy")]),
    python("imports", ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]),
    runner("typescript", "etcd, kube-apiserver and redis-server", typescriptReport, countVitest, async () => {
      await ensureRedis();
      // Compiled here when nothing is cached: no test's hook has the minutes that it takes.
      await ensureBinaries();
      return {
        argv: [
          bin("vitest"),
          "run",
          "--reporter=default",
          "--reporter=json",
          `--outputFile=${typescriptReport}`,
        ],
        cwd: root,
        deadlineMs: 60 * MINUTE,
      };
    }),
    runner("python", "the Python environment and the model", pythonReport, countJUnit, async () => {
      await ensureRedis();
      await ensureCompiler();
      return await engineTests(
        pythonReport,
        PATIENT_TESTS.map((file) => `--ignore=${file}`),
      );
    }),
    beside(
      runner("kernels", "the Python environment", kernelReport, countJUnit, async () => {
        const env = await pythonEnv();
        return {
          argv: [env.python, "-m", "pytest", "-ra", `--junitxml=${kernelReport}`, "tests/kernels"],
          cwd: engine,
          // Triton decides at import whether it interprets, so its tests have a process of their own.
          env: { TRITON_INTERPRET: "1", OMP_NUM_THREADS: "1" },
          yields: true,
          deadlineMs: BESIDE_DEADLINE_MS,
        };
      }),
    ),
    beside(
      runner("compute", "the Python environment and the model", computeReport, countJUnit, async () => {
        await ensureCompiler();
        return {
          ...(await engineTests(computeReport, PATIENT_TESTS)),
          yields: true,
          deadlineMs: BESIDE_DEADLINE_MS,
        };
      }),
    ),
    runner("cluster", "a container engine and root", clusterReport, countVitest, async () => {
      const env = await pythonEnv();
      return {
        argv: [
          bin("vitest"),
          "run",
          "--config=e2e/scenarios/vitest.config.ts",
          "--reporter=verbose",
          "--reporter=json",
          `--outputFile=${clusterReport}`,
        ],
        cwd: root,
        env: { CSPS_PYTHON: env.python, CSPS_TEST_MODEL: env.modelFile },
        deadlineMs: 120 * MINUTE,
      };
    }),
  ];
}
