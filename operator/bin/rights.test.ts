/** The operator under the very rights that the chart gives it: enough for a whole life, and no call refused. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ensureBinaries } from "../../e2e/cluster/binaries.ts";
import { run } from "../../e2e/cluster/command.ts";
import { get, remove } from "../kube/apply.ts";
import type { CSPSDeployment } from "../kube/object.ts";
import { cspsDeployments, spGroups } from "../kube/resource.ts";
import { createLogger } from "../observability/logger.ts";
import { startOperator, type RunningOperator } from "./compose.ts";
import { parseOptions } from "./options.ts";
import { eventually, World } from "./testing/world.ts";

const home = "csps-system";
const chart = join(import.meta.dirname, "..", "..", "charts", "csps");
let world: World;
let operator: RunningOperator;
let folder: string;

/** Kubeconfig of the ServiceAccount that the chart makes. */
async function restrictedKubeconfig(): Promise<string> {
  const helm = join(await ensureBinaries(), "helm");
  const args = ["template", "csps", chart, "--namespace", home, "--kube-version", "1.34.0"];
  const rendered = await run(helm, [...args, "--show-only", "templates/rbac.yaml"], { timeoutMs: 30_000 });
  await world.plane.kubectl(["apply", "--server-side", "-f", "-"], rendered);
  const token = (await world.plane.kubectl(["-n", home, "create", "token", "csps-operator"])).trim();
  const admin = JSON.parse(await readFile(world.plane.kubeconfigPath, "utf8")) as object;
  const path = join(folder, "kubeconfig");
  await writeFile(path, JSON.stringify({ ...admin, users: [{ name: "admin", user: { token } }] }), {
    mode: 0o600,
  });
  return path;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "csps-rights-"));
  world = await World.start();
  for (const name of ["a1", "a2"]) await world.addNode({ name, rack: "ra", gpus: 4 });
  const flags = ["--kubeconfig", await restrictedKubeconfig(), "--metrics-port", "0", "--health-port", "0"];
  const options = parseOptions(flags, {
    CSPS_OPERATOR_NAMESPACE: home,
    CSPS_OPERATOR_LEASE_NAME: "csps-operator",
  });
  if (options === undefined) throw new Error("The options ask for help");
  operator = await startOperator(options, { logger: createLogger({ level: "error" }), version: "test" });
});

afterAll(async () => {
  await operator.stop();
  await world.stop();
  await rm(folder, { recursive: true, force: true });
});

async function answersByCode(): Promise<Map<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${operator.metricsPort}/metrics`)).text();
  const counts = new Map<string, number>();
  for (const [, labels = "", value = "0"] of text.matchAll(/^rest_client_requests_total\{(.*)\} (\d+)$/gm)) {
    const code = /code="([^"]*)"/.exec(labels)?.[1] ?? "";
    counts.set(code, (counts.get(code) ?? 0) + Number(value));
  }
  return counts;
}

it("makes, changes, scales in and removes a deployment, and the API server refuses nothing", async () => {
  const namespace = await world.newNamespace();
  const spec = (groups: number): object => ({
    model: { name: "m", source: { image: { reference: "model:1" } }, contextLength: 2048 },
    engine: { backend: "cpu" },
    prefill: { groups },
    gateway: { replicas: groups },
  });
  const target = { metadata: { namespace, name: "m" } };
  const groupsReady = async (wanted: string): Promise<void> => {
    await eventually(async () => {
      const deployment = await get<CSPSDeployment>(world.cluster, cspsDeployments, target);
      expect(deployment?.status?.groupsReady).toBe(wanted);
    });
  };
  await world.applyDeployment(namespace, spec(2));
  await groupsReady("2/2");
  await world.applyDeployment(namespace, spec(1));
  await groupsReady("1/1");
  await eventually(async () => {
    expect((await world.list(spGroups, namespace)).map((group) => group.metadata.name)).toEqual([
      "m-prefill-0",
    ]);
  });
  await remove(world.cluster, cspsDeployments, target);
  await eventually(async () => {
    expect(await get(world.cluster, cspsDeployments, target)).toBeUndefined();
  });

  const events = await world.plane.kubectl(["get", "events", "-n", namespace, "-o", "name"]);
  expect(events).toContain("event/");
  const answers = await answersByCode();
  expect(answers.get("200")).toBeGreaterThan(20);
  expect(answers.get("403") ?? 0).toBe(0);
}, 480_000);
