import { afterEach, expect, test } from "vitest";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { load } from "js-yaml";
import { demand, eventually } from "./eventually.ts";
import { conditionOf, deployment, get, kubectl, nodes, pods, world } from "./world.ts";
import { listOf, podShape } from "./objects.ts";

const MINUTE = 60_000;
const NAME = "too-large";

afterEach(async () => {
  await kubectl([
    "delete",
    "cspsdeployment",
    NAME,
    "-n",
    world.namespace,
    "--ignore-not-found",
    "--wait=true",
  ]);
});

/** The quickstart's deployment under another name, with more ranks than any rack has GPUs for. */
async function tooLarge(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, "..", "..", "manifests", "quickstart.yaml"), "utf8");
  const object = load(text) as { metadata: { name: string }; spec: { prefill: Record<string, unknown> } };
  object.metadata.name = NAME;
  object.spec.prefill["sequenceParallel"] = { degree: 64, minDegree: 64, mode: "kvGather" };
  return JSON.stringify(object);
}

test(
  "a deployment that can't be placed says how many ranks fit and why",
  { timeout: 12 * MINUTE },
  async () => {
    await kubectl(["apply", "-n", world.namespace, "-f", "-"], await tooLarge());
    await eventually("TopologySatisfied=False", 4 * MINUTE, async () => {
      const condition = conditionOf(await deployment(NAME), "TopologySatisfied");
      demand(condition.status === "False", `${condition.status}: ${condition.message}`);
      console.log(`   ${condition.message}`);
      expect(condition.message).toMatch(/\d+ of 64 ranks fit/);
      expect(condition.message).toContain("nvidia.com/gpu");
    });
    const started = (await pods(`csps.io/deployment=${NAME},csps.io/role=prefill`)).filter(
      (pod) => pod.spec.nodeName !== undefined,
    );
    expect(started).toEqual([]);
  },
);

test("an impossible deployment is refused by the API server with the field and the rule", async () => {
  const wrong = (await tooLarge()).replace('"minDegree":64', '"minDegree":65');
  const refusal = await kubectl(["apply", "-n", world.namespace, "-f", "-"], wrong).catch(String);
  expect(refusal).toMatch(/spec\.prefill/);
  expect(refusal).toMatch(/minDegree/);
});

test("a deleted deployment leaves nothing behind", { timeout: 12 * MINUTE }, async () => {
  const text = await readFile(join(import.meta.dirname, "..", "..", "manifests", "quickstart.yaml"), "utf8");
  // A rank that is still starting hears no signal: it is not worth a minute's wait.
  const rank = {
    resources: { requests: { cpu: "50m", memory: "64Mi" } },
    terminationGracePeriodSeconds: 5,
  };
  const object = load(text) as { metadata: { name: string }; spec: Record<string, Record<string, unknown>> };
  object.metadata.name = NAME;
  // Without GPUs, which the deployment that is served has all of.
  for (const role of ["prefill", "decode"]) Object.assign(object.spec[role] ?? {}, { rank });
  await kubectl(["apply", "-n", world.namespace, "-f", "-"], JSON.stringify(object));
  await eventually("its pods to exist", 3 * MINUTE, async () => {
    const ranks = await pods(`csps.io/deployment=${NAME},csps.io/role in (prefill,decode)`);
    demand(ranks.length === 4, `${ranks.length} of 4 rank pods exist`);
    demand(
      ranks.every((pod) => pod.spec.nodeName !== undefined),
      "not all of them have a node",
    );
  });
  await kubectl(["delete", "cspsdeployment", NAME, "-n", world.namespace, "--wait=true", "--timeout=240s"]);
  const kinds =
    "pods,services,secrets,deployments,statefulsets,spgroups,decodepools,networkpolicies,serviceaccounts";
  await eventually("its objects to be gone", 4 * MINUTE, async () => {
    const left = await kubectl([
      "get",
      kinds,
      "-n",
      world.namespace,
      "-l",
      `csps.io/deployment=${NAME}`,
      "-o",
      "name",
    ]);
    demand(left.trim() === "", `still there: ${left.trim().replaceAll("\n", ", ")}`);
  });
  const names = (await get(listOf(podShape), "pods", "-n", world.namespace)).items.map(
    (pod) => pod.metadata.name,
  );
  expect(names.filter((name) => name.startsWith(NAME))).toEqual([]);
  expect((await nodes()).size).toBeGreaterThanOrEqual(5);
});
