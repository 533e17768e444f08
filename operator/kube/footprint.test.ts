import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type ControlPlane } from "../../e2e/cluster/native.ts";

const podCount = 500;
/** Of the operator's 150 MiB, what remains for the controllers. */
const limitMiB = 120;

let controlPlane: ControlPlane;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "csps-footprint-"));
  controlPlane = await startControlPlane({ controllers: false });
});

afterAll(async () => {
  await controlPlane.stop();
  await rm(folder, { recursive: true });
});

test("bundled as in the image, caches of 500 pods stay within their part of the memory, and the process can end", async () => {
  const items = Array.from({ length: podCount }, (_, index) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: `rank-${String(index)}`,
      namespace: "default",
      labels: { "csps.io/deployment": "demo" },
    },
    spec: {
      containers: [
        {
          name: "engine",
          image: "csps/engine-cpu:0.1.0",
          env: Array.from({ length: 10 }, (__, place) => ({
            name: `VARIABLE_${String(place)}`,
            value: "a value",
          })),
          resources: { requests: { cpu: "1", memory: "1Gi" } },
        },
      ],
    },
  }));
  await controlPlane.kubectl(
    ["create", "-f", "-"],
    JSON.stringify({ apiVersion: "v1", kind: "List", items }),
  );
  const program = join(folder, "probe.mjs");
  await build({
    entryPoints: [join(import.meta.dirname, "testing", "footprint-probe.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    target: "node22",
    format: "esm",
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
    logLevel: "error",
  });
  const { stdout } = await promisify(execFile)(process.execPath, [program, controlPlane.kubeconfigPath], {
    // Only what a container would have: no options of the test runner.
    env: { PATH: process.env["PATH"] },
    timeout: 150_000,
  });
  const footprint = JSON.parse(stdout) as { pods: number; peakMiB: number };
  expect(footprint.pods).toBe(podCount);
  expect(footprint.peakMiB).toBeLessThan(limitMiB);
});
