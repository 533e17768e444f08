import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createRedisClusterState } from "../../runtime/state/redisClusterState.ts";
import { aReport } from "../../runtime/state/testing/conformance.ts";
import { startRedisServer } from "../../runtime/state/testing/redisServer.ts";
import { create, remove } from "../kube/apply.ts";
import type { CSPSDeployment, Pod } from "../kube/object.ts";
import {
  cspsDeployments,
  type Resource,
  decodePools,
  deployments,
  leases,
  pods,
  secrets,
  services,
  spGroups,
  statefulSets,
} from "../kube/resource.ts";
import { networkPolicies, serviceAccounts } from "../controllers/cspsdeployment/desired/otherKinds.ts";
import { reconcileGang } from "../ranks/reconcileGang.ts";
import { runOperator, spawnOperator } from "./testing/operatorProcess.ts";
import { staleContext, staleView } from "./testing/staleContext.ts";
import { eventually, World } from "./testing/world.ts";

let world: World;

const gpu = { resources: { limits: { "nvidia.com/gpu": 1 } }, topology: { required: "rack" } };
const model = { name: "tiny", source: { image: { reference: "model:1" } }, contextLength: 2048 };

function aSpec(over: { degree?: number; ranks?: number } = {}): object {
  return {
    model,
    engine: { backend: "cpu" },
    prefill: { sequenceParallel: { degree: over.degree ?? 2 }, rank: gpu },
    decode: { ranks: over.ranks ?? 2, rank: gpu },
  };
}

beforeAll(async () => {
  world = await World.start();
  for (const [name, rack] of [
    ["a1", "ra"],
    ["a2", "ra"],
    ["b1", "rb"],
    ["b2", "rb"],
  ] as const) {
    await world.addNode({ name, rack, gpus: 1 });
  }
  await world.startOperator();
});

afterAll(async () => {
  await world.stop();
});

/** What a failed test left must not take the room of the next. */
afterEach(async () => {
  world.kubelet.holdsStarts = false;
  for (const namespace of world.namespaces.splice(0)) await dispose(namespace);
}, 240_000);

function condition(
  object: { status?: { conditions?: { type: string; status: string }[] | undefined } } | undefined,
  type: string,
) {
  return object?.status?.conditions?.find((one) => one.type === type) as
    { type: string; status: string; reason: string; message: string } | undefined;
}

async function untilAvailable(namespace: string): Promise<CSPSDeployment> {
  return eventually(async () => {
    const deployment = await world.read(cspsDeployments, namespace, "m");
    expect(condition(deployment, "Available")).toMatchObject({ status: "True" });
    expect(condition(deployment, "Degraded")).toMatchObject({ status: "False" });
    expect(condition(deployment, "Progressing")).toMatchObject({ status: "False" });
    return deployment as CSPSDeployment;
  });
}

async function dispose(namespace: string): Promise<void> {
  await remove(world.cluster, cspsDeployments, { metadata: { namespace, name: "m" } });
  await eventually(async () => {
    expect((await world.list(pods, namespace)).map((pod) => pod.metadata.name)).toEqual([]);
  });
}

const racks: Record<string, string> = { a1: "ra", a2: "ra", b1: "rb", b2: "rb" };

function racksOf(list: readonly Pod[], group: string): string[] {
  const own = list.filter((pod) => pod.metadata.labels?.["csps.io/group"] === group);
  return [...new Set(own.map((pod) => racks[pod.spec?.nodeName ?? ""] ?? "?"))];
}

describe("the operator on a real API server", { timeout: 360_000 }, () => {
  it("brings a deployment up on one rack per gang and leaves nothing behind", async () => {
    const namespace = await world.newNamespace();
    await world.applyDeployment(namespace, aSpec());
    const deployment = await untilAvailable(namespace);

    expect(deployment.status).toMatchObject({
      groupsReady: "1/1",
      degree: 2,
      decodeRanksReady: "2/2",
      endpoint: `http://m-gateway.${namespace}.svc:8000/v1`,
    });
    expect(condition(deployment, "TopologySatisfied")).toMatchObject({ status: "True" });
    expect(deployment.status?.decisions?.map((one) => one.subject).sort()).toEqual([
      "placement of m-decode",
      "placement of m-prefill-0",
    ]);
    const running = await world.list(pods, namespace);
    expect(racksOf(running, "m-prefill-0")).toHaveLength(1);
    expect(racksOf(running, "m-decode")).toHaveLength(1);
    for (const pod of running) expect(pod.spec?.schedulingGates ?? []).toEqual([]);

    const [first] = world.kubelet.ranksOf("m-prefill-0");
    expect(first?.roster).toMatchObject({
      group: "m-prefill-0",
      role: "prefill",
      generation: 1,
      minSize: 1,
      members: [{ rankId: "m-prefill-0-0" }, { rankId: "m-prefill-0-1" }],
    });
    for (const reason of ["Placed", "GateLifted", "RosterPushed", "EpochFormed", "Available"])
      await world.untilTold(namespace, reason);

    await dispose(namespace);
    const kinds: readonly Resource[] = [
      spGroups,
      decodePools,
      deployments,
      statefulSets,
      services,
      secrets,
      networkPolicies,
    ];
    for (const resource of kinds) {
      await eventually(async () => {
        expect((await world.list(resource, namespace)).map((one) => one.metadata.name)).toEqual([]);
      });
    }
    await eventually(async () => {
      expect(await world.read(serviceAccounts, namespace, "m-gateway")).toBeUndefined();
    });
  });

  it("shrinks the roster when a rank is deleted, and grows it again with the successor", async () => {
    const namespace = await world.newNamespace();
    await world.applyDeployment(namespace, aSpec());
    await untilAvailable(namespace);
    const survivor = world.kubelet.ranksOf("m-prefill-0")[0];

    world.kubelet.holdsStarts = true;
    await remove(world.cluster, pods, { metadata: { namespace, name: "m-prefill-0-1" } });
    await eventually(async () => {
      const deployment = await world.read(cspsDeployments, namespace, "m");
      expect(condition(deployment, "Degraded")).toMatchObject({ status: "True", reason: "RanksMissing" });
      expect(condition(deployment, "Available")).toMatchObject({ status: "True" });
    });
    world.kubelet.holdsStarts = false;
    await untilAvailable(namespace);

    const sizes = survivor?.rosters.map((roster) => roster.members.length);
    expect(sizes).toEqual([2, 1, 2]);
    expect(world.kubelet.livesOf(`${namespace}/m-prefill-0-1`)).toBe(2);
    expect(racksOf(await world.list(pods, namespace), "m-prefill-0")).toHaveLength(1);
  });

  it("replaces a rank that failed after a back-off, and says why it failed", async () => {
    const namespace = await world.newNamespace();
    await world.applyDeployment(namespace, aSpec());
    await untilAvailable(namespace);
    await world.kubelet.crash(`${namespace}/m-decode-0`);
    await eventually(async () => {
      const pool = await world.read(decodePools, namespace, "m-decode");
      expect(pool?.status?.lastFailure).toBe("m-decode-0: container engine ended with code 137 (OOMKilled)");
      expect(pool?.status?.failures).toHaveLength(1);
      expect(pool?.status?.restarts).toBe(1);
    });
    await untilAvailable(namespace);
  });

  it("says why a group has no place, and places it when room appears", async () => {
    const namespace = await world.newNamespace();
    await world.applyDeployment(namespace, aSpec({ degree: 3, ranks: 1 }));
    await eventually(async () => {
      const deployment = await world.read(cspsDeployments, namespace, "m");
      expect(condition(deployment, "TopologySatisfied")).toMatchObject({ status: "False", reason: "NoRoom" });
      expect(condition(deployment, "TopologySatisfied")?.message).toMatch(
        /^m-prefill-0: [12] of 3 ranks fit in the best rack "r[ab]"/,
      );
    });
    for (const pod of await world.list(pods, namespace)) {
      if (pod.metadata.labels?.["csps.io/group"] !== "m-prefill-0") continue;
      expect(pod.spec?.schedulingGates).toEqual([{ name: "csps.io/gang" }]);
    }
    await world.addNode({ name: "b3", rack: "rb", gpus: 2 });
    racks["b3"] = "rb";
    await untilAvailable(namespace);
    expect(racksOf(await world.list(pods, namespace), "m-prefill-0")).toEqual(["rb"]);
    await dispose(namespace);
    await world.removeNode("b3");
  });

  it("brings gangs to a new image one after the other", async () => {
    const namespace = await world.newNamespace();
    await world.applyDeployment(namespace, aSpec());
    await untilAvailable(namespace);
    await world.applyDeployment(namespace, { ...aSpec(), engine: { backend: "cpu", image: "engine:2" } });
    const group = (list: readonly Pod[], name: string) =>
      list.filter((pod) => pod.metadata.labels?.["csps.io/group"] === name);
    const isNew = (pod: Pod) => pod.spec?.containers[0]?.image === "engine:2";
    let sawBothDown = false;
    await eventually(async () => {
      const list = await world.list(pods, namespace);
      const [prefill, decode] = [group(list, "m-prefill-0"), group(list, "m-decode")];
      const prefillServes = prefill.length === 2 && prefill.some(isNew);
      sawBothDown ||= decode.some(isNew) && !prefillServes;
      expect([...prefill, ...decode].filter(isNew)).toHaveLength(4);
    });
    expect(sawBothDown).toBe(false);
    await untilAvailable(namespace);
  });

  it("makes no pod twice when the operator restarts while a gang forms, and fences the old leader out", async () => {
    const namespace = await world.newNamespace();
    await world.applyDeployment(namespace, aSpec());
    await eventually(async () => {
      const own = await world.list(pods, namespace);
      expect(own.filter((pod) => pod.metadata.labels?.["csps.io/group"] === "m-prefill-0")).toHaveLength(2);
    });
    await world.stopOperator();
    await world.startOperator();
    await untilAvailable(namespace);
    for (const name of ["m-prefill-0-0", "m-prefill-0-1", "m-decode-0", "m-decode-1"]) {
      expect(world.kubelet.livesOf(`${namespace}/${name}`), name).toBe(1);
    }
    const before = Math.max(...world.kubelet.ranksOf("m-decode").map((rank) => rank.roster?.fence ?? 0));
    await world.stopOperator();
    await world.startOperator();
    await remove(world.cluster, pods, { metadata: { namespace, name: "m-decode-1" } });
    await eventually(() => {
      const [rank] = world.kubelet.ranksOf("m-decode");
      expect(rank?.roster?.fence).toBeGreaterThan(before);
    });
    await untilAvailable(namespace);
  });
});

describe("when machines and stores are lost", { timeout: 360_000 }, () => {
  it("replaces the rank of a lost node on another one, and lets its name go", async () => {
    const namespace = await world.newNamespace();
    await world.applyDeployment(namespace, aSpec({ ranks: 1 }));
    await untilAvailable(namespace);
    const pod = await world.read(pods, namespace, "m-prefill-0-1");
    const lost = pod?.spec?.nodeName ?? "";
    const rack = racks[lost] ?? "";
    racks["spare"] = rack;
    await world.addNode({ name: "spare", rack, gpus: 1 });
    await world.loseNode(lost);
    // What the taint manager does when the toleration of a lost node is over.
    await remove(world.cluster, pods, { metadata: { namespace, name: "m-prefill-0-1" } });
    await eventually(async () => {
      const successor = await world.read(pods, namespace, "m-prefill-0-1");
      expect(successor?.spec?.nodeName).toBe("spare");
    });
    await untilAvailable(namespace);
    // The machine comes back: whatever else ran on it can be let go.
    await world.findNode(lost);
    await dispose(namespace);
    await world.removeNode("spare");
  });

  it("watches an external state store, and clears the deployment's keys from it", async () => {
    const namespace = await world.newNamespace();
    const redis = await startRedisServer();
    const state = createRedisClusterState({
      ...{ url: redis.socket, deployment: `${namespace}/m`, now: Date.now, commandTimeoutMs: 30_000 },
    });
    try {
      await useExternalStore(namespace, redis.socket);
      await eventually(async () => {
        const deployment = await world.read(cspsDeployments, namespace, "m");
        expect(condition(deployment, "StateStoreReachable")).toMatchObject({ status: "True" });
      });
      await eventually(async () => {
        expect(await state.reportRank(aReport(), 600_000)).toMatchObject({ ok: true });
      });
      await dispose(namespace);
      // It may not have had a pod yet.
      await eventually(async () => {
        expect(await world.read(cspsDeployments, namespace, "m")).toBeUndefined();
      });
      expect(await state.listRanks()).toEqual({ ok: true, value: [] });
    } finally {
      await state.close();
      await redis.dispose();
    }
  });

  it("lets a deployment go within a deadline when its store is dead, and says what may remain", async () => {
    const namespace = await world.newNamespace();
    await useExternalStore(namespace, "redis://127.0.0.1:1/0");
    await eventually(async () => {
      const deployment = await world.read(cspsDeployments, namespace, "m");
      expect(condition(deployment, "StateStoreReachable")).toMatchObject({ status: "False" });
      expect(deployment?.metadata.finalizers).toEqual(["csps.io/state"]);
    });
    await remove(world.cluster, cspsDeployments, { metadata: { namespace, name: "m" } });
    await eventually(async () => {
      expect(await world.read(cspsDeployments, namespace, "m")).toBeUndefined();
    }, 60_000);
    await world.untilTold(namespace, "StateNotCleared");
  });
});

describe("a cache that lags behind", { timeout: 180_000 }, () => {
  it("makes no pod twice, whether the cache is late or never shows what was made", async () => {
    await world.stopOperator();
    const namespace = await world.newNamespace();
    const group = await world.applyGroup(namespace);
    const context = staleContext(world.cluster);
    const look = () => reconcileGang(context, staleView(context, group), new AbortController().signal);
    const uids = async () => (await world.list(pods, namespace)).map((pod) => pod.metadata.uid).sort();

    await look();
    const made = await uids();
    expect(made).toHaveLength(2);
    // Late: the announced pods are awaited.
    expect((await look()).requeueAfterMs).toBeLessThanOrEqual(1_000);
    expect(await uids()).toEqual(made);
    // Lost: after the time-out the API server itself refuses a second pod of a name.
    context.expectations.forget(group.metadata.uid);
    await look();
    expect(await uids()).toEqual(made);
    await remove(world.cluster, spGroups, group);
    await world.startOperator();
  });
});

describe("the operator's process", { timeout: 180_000 }, () => {
  it("leads, answers probes and metrics, and gives its lease back on SIGTERM", async () => {
    await world.stopOperator();
    const operator = await spawnOperator(world.plane.kubeconfigPath);
    try {
      await eventually(async () => {
        const lease = await world.read(leases, "csps-system", "csps-operator");
        expect(lease?.spec?.holderIdentity).not.toBe("");
        expect((await fetch(`http://127.0.0.1:${String(operator.healthPort)}/readyz`)).status).toBe(200);
      });
      // The Lease is written before the process knows that it has it.
      await eventually(async () => {
        const metrics = await (
          await fetch(`http://127.0.0.1:${String(operator.metricsPort)}/metrics`)
        ).text();
        expect(metrics).toContain('leader_election_master_status{name="csps-operator"} 1');
        expect(metrics).toContain("csps_deployment_condition");
      });
    } finally {
      expect(await operator.stop("SIGTERM")).toBe(0);
    }
    const lease = await world.read(leases, "csps-system", "csps-operator");
    expect(lease?.spec?.holderIdentity).toBe("");
  });

  it("refuses a flag that makes no sense with status 2, and prints its usage", async () => {
    const refused = await runOperator(["--metrics-port", "x"]);
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toContain('--metrics-port must be a port from 0 to 65535, not "x"');
    expect(await runOperator(["--help"])).toMatchObject({ code: 0, stderr: "" });
  });
});

async function useExternalStore(namespace: string, url: string): Promise<void> {
  await create(world.cluster, secrets, {
    metadata: { namespace, name: "redis" },
    type: "Opaque",
    data: { url: Buffer.from(url).toString("base64") },
  });
  const stateStore = { mode: "External", urlSecret: { name: "redis" } };
  await world.applyDeployment(namespace, { ...aSpec({ degree: 1, ranks: 1 }), stateStore });
}
