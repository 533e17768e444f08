/** What operator and nodes may do to streams: under load the operator is killed, a node stops, a node is cordoned. */
import { expect, test } from "vitest";
import { run } from "../cluster/command.ts";
import { GPU_RESOURCE, GPUS_PER_WORKER } from "../cluster/topology.ts";
import { demand, eventually } from "./eventually.ts";
import {
  deletePod,
  expectWhole,
  healed,
  killProcesses,
  LONG_LIVED,
  type Outcome,
  seconds,
  stream,
  streamsThrough,
} from "./faults.ts";
import { isReady, leaseShape, type Pod } from "./objects.ts";
import { lead, operatorPods, operators, renewedLead } from "./operators.ts";
import { openPool } from "./pool.ts";
import { movesDuring } from "./poolRecord.ts";
import { servedHealthy } from "./served.ts";
import { get, healthy, kubectl, nodes, pods, rankPods, world } from "./world.ts";

const MINUTE = 60_000;

const served = servedHealthy();

/** Waits until the rank's name belongs to another pod, and returns it. */
async function successorOf({ metadata: { name, uid } }: Pod, deadlineMs: number): Promise<Pod> {
  return await eventually(`another pod ${name}`, deadlineMs, async () => {
    const now = (await rankPods("decode")).find((pod) => pod.metadata.name === name);
    demand(now !== undefined && now.metadata.uid !== uid, "the rank's pod is not replaced yet");
    return now;
  });
}

test(
  "streams do not notice the kill -9 of the operator that leads: another takes over and heals",
  { timeout: 60 * MINUTE },
  async () => {
    const [rank] = await rankPods("decode");
    if (rank === undefined) throw new Error("there is no rank");
    await operators(2);
    try {
      const both = await operatorPods();
      const outcomes = await streamsThrough(served.url, async () => {
        const killed = await renewedLead();
        const leader = both.find((pod) => pod.metadata.name === killed.pod);
        if (leader === undefined) throw new Error(`${killed.pod} leads, and is no operator`);
        const killedMs = Date.now();
        await killProcesses(leader);
        const next = await eventually("another operator to lead", 4 * MINUTE, async () => {
          const now = await lead();
          demand(now.identity !== killed.identity, "it holds the Lease yet");
          return now;
        });
        // The killed process is back within seconds, and may be the first to look once the Lease has run out.
        const who = next.pod === killed.pod ? "it" : "its standby";
        console.log(`   ${who} led ${seconds(killedMs)} after the leader was killed`);
      });
      expectWhole(outcomes, served.undisturbed);
      const lostMs = Date.now();
      await deletePod(rank.metadata.name, world.namespace);
      await successorOf(rank, 4 * MINUTE);
      console.log(`   a rank was replaced ${seconds(lostMs)} after its loss`);
      await healed(lostMs, 8 * MINUTE);
    } finally {
      await operators(1);
    }
  },
);

/** Waits until the node's kubelet has told that it lives after this time: a condition may be from before it stopped. */
async function reported(node: string, sinceMs: number, deadlineMs: number): Promise<void> {
  await eventually(`node ${node} to be Ready`, deadlineMs, async () => {
    const { spec } = await get(leaseShape, "lease", node, "-n", "kube-node-lease");
    demand(Date.parse(spec.renewTime) > sinceMs, `it was heard of last at ${spec.renewTime}`);
    const now = (await nodes()).get(node);
    demand(now !== undefined && isReady(now), "it is not Ready yet");
  });
}

/** How a stream that no rank is left for ends: with a sentence, in the stream or before it began. */
const SAYS_WHY =
  /(the stream carried an error: \{|the gateway answered 503: \{"error":\{)"message":"[^"]{20,}/;

test("a stopped node is survived and its ranks return", { timeout: 60 * MINUTE }, async () => {
  const ranks = [...(await rankPods("prefill")), ...(await rankPods("decode"))];
  const others = await pods(`csps.io/deployment=${world.deployment},csps.io/role=gateway`);
  const gatewayNodes = new Set(others.map((pod) => pod.spec.nodeName));
  const victim = ranks
    .map((pod) => pod.spec.nodeName)
    .find((node) => node !== undefined && !gatewayNodes.has(node));
  expect(victim).toBeDefined();
  if (victim === undefined) return;
  let stoppedMs = 0;
  let startedMs = 0;
  const outcomes = await streamsThrough(served.url, async () => {
    stoppedMs = Date.now();
    await run("docker", ["stop", "--time=0", victim], { timeoutMs: 3 * MINUTE });
  });
  try {
    for (const outcome of outcomes) {
      if (outcome.kind === "whole") expect(outcome.completion.text).toBe(served.undisturbed.text);
      else expect(outcome.message).toMatch(SAYS_WHY);
    }
    const answer = await eventually(
      "the deployment to answer without the node",
      8 * MINUTE,
      () => stream(served.url),
      2_000,
    );
    expect(answer.text).toBe(served.undisturbed.text);
  } finally {
    startedMs = Date.now();
    await run("docker", ["start", victim], { timeoutMs: 3 * MINUTE });
  }
  await reported(victim, startedMs, 8 * MINUTE);
  // Which a device plugin would do on a real one.
  await giveGpus(victim, GPUS_PER_WORKER);
  await healed(stoppedMs, 12 * MINUTE);
});

/** Also what the kubelet would make of it in its own time: a rank goes only when there is room elsewhere. */
async function giveGpus(node: string, count: number): Promise<void> {
  const patch = JSON.stringify(
    ["capacity", "allocatable"].map((list) => ({
      op: "add",
      path: `/status/${list}/${GPU_RESOURCE.replace("/", "~1")}`,
      value: String(count),
    })),
  );
  await kubectl(["patch", "node", node, "--subresource=status", "--type=json", "-p", patch]);
}

test(
  "a cordoned node's rank hands its pages over and leaves; no stream is broken off",
  { timeout: 60 * MINUTE },
  async () => {
    const [stays, leaves] = (await rankPods("decode")).sort((a, b) =>
      a.metadata.name.localeCompare(b.metadata.name),
    );
    const [elsewhere, cordoned] = [stays?.spec.nodeName, leaves?.spec.nodeName];
    if (leaves === undefined || elsewhere === undefined || cordoned === undefined)
      throw new Error("there are no two decode ranks on nodes");
    const pool = await openPool(world.deployment);
    const calm = await stream(served.url, LONG_LIVED);
    // Every other GPU is taken: the rank needs one to go to.
    await giveGpus(elsewhere, 2 * GPUS_PER_WORKER);
    try {
      const fault = async (): Promise<void> => {
        const cordonedMs = Date.now();
        await kubectl(["cordon", cordoned]);
        const successor = await successorOf(leaves, 4 * MINUTE);
        console.log(`   the rank had left ${seconds(cordonedMs)} after the cordon`);
        expect(successor.spec.nodeName ?? "").not.toBe(cordoned);
      };
      let outcomes: readonly Outcome[] = [];
      const moves = await movesDuring(pool, async () => {
        outcomes = await streamsThrough(served.url, fault, LONG_LIVED);
      });
      expectWhole(outcomes, calm);
      for (const outcome of outcomes) expect(outcome).toMatchObject({ completion: { recoveries: 0 } });
      console.log(`   ${moves.length} moves emptied it`);
      expect(moves.map((move) => move.from)).toContain(leaves.metadata.name);
      await healthy(8 * MINUTE);
    } finally {
      await pool.close();
      await kubectl(["uncordon", cordoned]);
      await giveGpus(elsewhere, GPUS_PER_WORKER);
    }
    // Back to one rank a node.
    await deletePod(leaves.metadata.name, world.namespace);
    await successorOf(leaves, 4 * MINUTE);
    await healthy(8 * MINUTE);
  },
);
