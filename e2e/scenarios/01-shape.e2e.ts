import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { conditionOf, deployment, get, healthy, kubectl, nodes, pods, rankPods, world } from "./world.ts";
import { listOf } from "./objects.ts";

const RACK = "csps.io/rack";

beforeAll(async () => {
  await healthy(5 * 60_000);
});

test("one listing shows the deployment, its groups, its pool and their pods on nodes", async () => {
  const text = await kubectl(["get", "csps,spgroups,decodepools,pods", "-n", world.namespace, "-o", "wide"]);
  console.log(text);
  expect(text).toContain(`cspsdeployment.csps.io/${world.deployment}`);
  expect(text).toContain(`spgroup.csps.io/${world.deployment}-prefill-0`);
  expect(text).toContain(`decodepool.csps.io/${world.deployment}-decode`);
  for (const name of ["prefill-0-0", "prefill-0-1", "decode-0", "decode-1"]) {
    expect(text).toMatch(new RegExp(`pod/${world.deployment}-${name}\\s+1/1\\s+Running`));
  }
});

test.each(["prefill", "decode"] as const)("the %s ranks of one group lie inside one rack", async (role) => {
  const known = await nodes();
  const ranks = await rankPods(role);
  expect(ranks).toHaveLength(2);
  const racks = ranks.map((pod) => known.get(pod.spec.nodeName ?? "")?.metadata.labels[RACK]);
  expect(racks).not.toContain(undefined);
  expect(new Set(racks).size).toBe(1);
});

test("every condition of a healthy deployment is what it should be", async () => {
  const now = await deployment();
  for (const type of ["Available", "TopologySatisfied", "EnginesReady", "StateStoreReachable"]) {
    expect(`${type}=${conditionOf(now, type).status}`).toBe(`${type}=True`);
  }
  expect(conditionOf(now, "Degraded").status).toBe("False");
  expect(now.status.groupsReady).toBe("1/1");
  expect(now.status.decodeRanksReady).toBe("2/2");
  expect(now.status.degree).toBe(2);
});

test("describe tells the story of a group in events", async () => {
  const text = await kubectl(["describe", "spgroup", `${world.deployment}-prefill-0`, "-n", world.namespace]);
  for (const reason of ["Placed", "RosterPushed", "EpochFormed"]) expect(text).toContain(reason);
});

test("no container runs as root or with a writable root file system", async () => {
  const container = z.object({
    name: z.string(),
    securityContext: z.object({ readOnlyRootFilesystem: z.boolean(), allowPrivilegeEscalation: z.boolean() }),
  });
  const shape = z.object({
    spec: z.object({
      securityContext: z.object({ runAsNonRoot: z.boolean() }),
      automountServiceAccountToken: z.boolean().optional(),
      containers: z.array(container),
      initContainers: z.array(container).default([]),
    }),
  });
  const selector = `csps.io/deployment=${world.deployment}`;
  const list = await get(listOf(shape), "pods", "-n", world.namespace, "-l", selector);
  expect(list.items).toHaveLength((await pods(selector)).length);
  for (const { spec } of list.items) {
    expect(spec.securityContext.runAsNonRoot).toBe(true);
    expect(spec.automountServiceAccountToken).toBe(false);
    for (const one of [...spec.containers, ...spec.initContainers]) {
      expect(one.securityContext).toMatchObject({
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
      });
    }
  }
});
