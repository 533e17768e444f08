import { expect, test } from "vitest";
import { z } from "zod";
import { demand, eventually } from "./eventually.ts";
import { listOf, podShape } from "./objects.ts";
import { get, healthy, kubectl, rankPods, world } from "./world.ts";

const MIB = 2 ** 20;
const MINUTE = 60_000;
/** At least, between two of the kubelet's measurements, which tell their own time. */
const IDLE_MS = 30_000;
const IDLE_CORES = 0.02;
/** Of which one must be as idle as it should be: what scenarios before have left to do ends at some time. */
const STRETCHES = 4;

const summary = z.object({
  pods: z.array(
    z.object({
      podRef: z.object({ name: z.string(), namespace: z.string() }),
      containers: z
        .array(
          z.object({
            name: z.string(),
            cpu: z.object({ time: z.string(), usageCoreNanoSeconds: z.number().optional() }).optional(),
            memory: z
              .object({ workingSetBytes: z.number().optional(), rssBytes: z.number().optional() })
              .optional(),
          }),
        )
        .default([]),
    }),
  ),
});

interface Usage {
  readonly workingSetBytes: number;
  readonly cpuNanoSeconds: number;
  readonly time: number;
}

/** What the kubelet of `node` measured for the first container of a pod, which it begins to do some time after its start. */
async function usage(node: string, namespace: string, name: string): Promise<Usage> {
  return await eventually(`figures of ${name}`, 2 * MINUTE, () => measured(node, namespace, name));
}

async function measured(node: string, namespace: string, name: string): Promise<Usage> {
  const text = await kubectl(["get", "--raw", `/api/v1/nodes/${node}/proxy/stats/summary`]);
  const pod = summary
    .parse(JSON.parse(text))
    .pods.find((one) => one.podRef.name === name && one.podRef.namespace === namespace);
  const container = pod?.containers[0];
  if (container?.memory?.workingSetBytes === undefined || container.cpu?.usageCoreNanoSeconds === undefined) {
    throw new Error(`the kubelet of ${node} has no figures of pod ${namespace}/${name} yet`);
  }
  return {
    workingSetBytes: container.memory.workingSetBytes,
    cpuNanoSeconds: container.cpu.usageCoreNanoSeconds,
    time: Date.parse(container.cpu.time),
  };
}

test("an engine rank uses at most 1.5 GiB", { timeout: 20 * MINUTE }, async () => {
  await healthy(8 * MINUTE);
  for (const pod of [...(await rankPods("prefill")), ...(await rankPods("decode"))]) {
    const used = await usage(pod.spec.nodeName ?? "", world.namespace, pod.metadata.name);
    console.log(`   ${pod.metadata.name}: ${(used.workingSetBytes / MIB).toFixed(0)} MiB`);
    expect(used.workingSetBytes / MIB).toBeGreaterThan(200);
    expect(used.workingSetBytes / MIB).toBeLessThan(1536);
  }
});

test("the operator uses at most 150 MiB and, idle, under 0.02 core", { timeout: 12 * MINUTE }, async () => {
  const selector = ["-n", world.operatorNamespace, "-l", "app.kubernetes.io/component=operator"];
  const [pod] = (await get(listOf(podShape), "pods", ...selector)).items;
  expect(pod).toBeDefined();
  if (pod === undefined) return;
  const measure = (): Promise<Usage> =>
    usage(pod.spec.nodeName ?? "", world.operatorNamespace, pod.metadata.name);
  let before = await measure();
  let least = Infinity;
  for (let stretch = 1; stretch <= STRETCHES && least >= IDLE_CORES; stretch += 1) {
    const since = before;
    const after = await eventually("the kubelet to measure the operator again", 3 * MINUTE, async () => {
      const now = await measure();
      demand(now.time - since.time >= IDLE_MS, `${(now.time - since.time) / 1000} s have been measured`);
      return now;
    });
    const cores = (after.cpuNanoSeconds - since.cpuNanoSeconds) / 1e6 / (after.time - since.time);
    console.log(`   operator: ${(after.workingSetBytes / MIB).toFixed(0)} MiB, ${cores.toFixed(4)} core`);
    expect(after.workingSetBytes / MIB).toBeLessThan(150);
    least = Math.min(least, cores);
    before = after;
  }
  expect(least).toBeLessThan(IDLE_CORES);
});
