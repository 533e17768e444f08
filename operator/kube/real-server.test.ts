/** The room against a real API server, behind a relay whose connections can be cut. */
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type ControlPlane } from "../../e2e/cluster/native.ts";
import { isAlreadyExists, isConflict, isInvalid, isNotFound } from "./api-error.ts";
import { apply, applyStatus, create, get, mergePatch, remove, setFinalizer, ungate } from "./apply.ts";
import { connect, type Cluster } from "./cluster.ts";
import { EventRecorder } from "./events.ts";
import { Informer } from "./informer.ts";
import { LeaderElector } from "./lease.ts";
import { listPages } from "./list.ts";
import type { SPGroup } from "./object.ts";
import { slim, slimPod } from "./projection.ts";
import { configMaps, events, leases, namespaces, pods, spGroups } from "./resource.ts";
import { byLabel, byNode } from "./store.ts";
import { CuttableProxy } from "./testing/cuttable-proxy.ts";
import { eventually } from "./testing/eventually.ts";

let controlPlane: ControlPlane;
let proxy: CuttableProxy;
/** Straight to the server. */
let direct: Cluster;
/** Through the relay. */
let relayed: Cluster;

beforeAll(async () => {
  controlPlane = await startControlPlane({ controllers: false });
  direct = connect({ kubeconfig: controlPlane.kubeconfigPath });
  proxy = await CuttableProxy.start(direct.server);
  const config = await readFile(controlPlane.kubeconfigPath, "utf8");
  const relayedPath = `${controlPlane.kubeconfigPath}-relayed`;
  await writeFile(relayedPath, config.replace(direct.server.host, `127.0.0.1:${String(proxy.port)}`), {
    mode: 0o600,
  });
  relayed = connect({ kubeconfig: relayedPath });
});

afterAll(async () => {
  await proxy.stop();
  direct.close();
  relayed.close();
  await controlPlane.stop();
});

async function makeNamespace(name: string): Promise<string> {
  await apply(direct, namespaces, { metadata: { name } });
  return name;
}

describe("an informer", () => {
  test("sees 1,200 ConfigMaps through pages and catches up after the server was out of reach", async () => {
    const namespace = await makeNamespace("many");
    const total = 1_200;
    const indices = Array.from({ length: total }, (_, index) => index);
    const worker = async (): Promise<void> => {
      for (let index = indices.pop(); index !== undefined; index = indices.pop()) {
        const metadata = {
          namespace,
          name: `map-${String(index)}`,
          labels: { parity: index % 2 === 0 ? "even" : "odd" },
        };
        await create(direct, configMaps, { metadata, data: { index: String(index) } });
      }
    };
    await Promise.all(Array.from({ length: 16 }, worker));
    const informer = new Informer({
      cluster: relayed,
      resource: configMaps,
      namespace,
      project: slim,
      indexes: { parity: byLabel("parity") },
      backoff: { minMs: 50, maxMs: 500 },
    }).start();
    await informer.synced(90_000);
    expect(informer.store.size).toBe(total);
    expect(informer.store.byIndex("parity", "even").length).toBe(total / 2);
    expect(informer.store.get(`${namespace}/map-7`)?.metadata).not.toHaveProperty("managedFields");

    proxy.cut();
    await remove(direct, configMaps, { metadata: { namespace, name: "map-0" } });
    await apply(direct, configMaps, { metadata: { namespace, name: "map-1" }, data: { changed: "yes" } });
    await apply(direct, configMaps, { metadata: { namespace, name: "late" } });
    proxy.restore();
    await eventually("the late map", () => informer.store.get(`${namespace}/late`) !== undefined);
    await eventually("the deletion", () => informer.store.get(`${namespace}/map-0`) === undefined);
    await eventually(
      "the change",
      () => informer.store.get(`${namespace}/map-1`)?.data?.["changed"] === "yes",
    );
    expect(informer.store.byIndex("parity", "even").length).toBe(total / 2 - 1);
    await informer.stop();
  });
});

describe("applying", () => {
  test("leaves the fields of others alone and removes its own when it leaves them out", async () => {
    const namespace = await makeNamespace("apply");
    const metadata = { namespace, name: "shared" };
    await apply(direct, configMaps, { metadata, data: { ours: "1", dropped: "1" } });
    await apply(direct, configMaps, { metadata, data: { theirs: "2" } }, { fieldManager: "somebody" });
    const after = await apply(direct, configMaps, { metadata, data: { ours: "3" } });
    expect(after.data).toEqual({ ours: "3", theirs: "2" });
  });

  test("without force refuses to take a field from another manager", async () => {
    const namespace = await makeNamespace("apply");
    const metadata = { namespace, name: "contested" };
    await apply(direct, configMaps, { metadata, data: { field: "theirs" } }, { fieldManager: "somebody" });
    const contested = apply(direct, configMaps, { metadata, data: { field: "ours" } }, { force: false });
    await expect(contested).rejects.toSatisfy(isConflict);
    const forced = await apply(direct, configMaps, { metadata, data: { field: "ours" } });
    expect(forced.data).toEqual({ field: "ours" });
  });

  test("status has its own manager, and a patch and a finalizer reach a custom resource", async () => {
    const namespace = await makeNamespace("groups");
    await controlPlane.kubectl(["apply", "-f", "crds/csps.io_spgroups.yaml"]);
    await controlPlane.kubectl([
      "wait",
      "--for=condition=Established",
      "crd/spgroups.csps.io",
      "--timeout=20s",
    ]);
    const metadata = { namespace, name: "demo-prefill-0" };
    const group = await apply(direct, spGroups, { metadata, spec: groupSpec });
    const status = { observedGeneration: group.metadata.generation ?? 0, ranksReady: 1, reason: "Forming" };
    const reported = await applyStatus(direct, spGroups, { metadata, status });
    expect(reported.status).toMatchObject({ ranksReady: 1 });
    expect(reported.metadata.generation).toBe(group.metadata.generation);

    const held = await setFinalizer(direct, spGroups, reported, { name: "csps.io/state", present: true });
    expect(held.metadata.finalizers).toEqual(["csps.io/state"]);
    await expect(
      setFinalizer(direct, spGroups, group, { name: "csps.io/other", present: true }),
    ).rejects.toSatisfy(isConflict);
    const patched = await mergePatch(direct, spGroups, { metadata }, { spec: { minRanks: 1 } });
    expect(patched.spec).toMatchObject({ ranks: 2, minRanks: 1 });
    // Applying the spec again touches neither the status nor the finalizer.
    const again = await apply(direct, spGroups, { metadata, spec: groupSpec });
    expect(again.status).toMatchObject({ ranksReady: 1 });
    expect(again.metadata.finalizers).toEqual(["csps.io/state"]);

    await remove(direct, spGroups, { metadata });
    const leaving = await get(direct, spGroups, { metadata });
    expect(leaving?.metadata.deletionTimestamp).toBeDefined();
    if (leaving !== undefined)
      await setFinalizer(direct, spGroups, leaving, { name: "csps.io/state", present: false });
    expect(await get(direct, spGroups, { metadata })).toBeUndefined();
  });

  test("tells a taken name, a missing object and invalid content apart", async () => {
    const namespace = await makeNamespace("errors");
    const metadata = { namespace, name: "one" };
    await create(direct, configMaps, { metadata });
    await expect(create(direct, configMaps, { metadata })).rejects.toSatisfy(isAlreadyExists);
    const missing = mergePatch(direct, configMaps, { metadata: { namespace, name: "none" } }, { data: {} });
    await expect(missing).rejects.toSatisfy(isNotFound);
    const invalid = create(direct, configMaps, { metadata: { namespace, name: "Not A Name" } });
    await expect(invalid).rejects.toSatisfy(isInvalid);
    expect(await get(direct, configMaps, { metadata: { namespace, name: "none" } })).toBeUndefined();
  });
});

describe("pods", () => {
  test("lose one scheduling gate of several, and are deleted only if they are still the same pod", async () => {
    const namespace = await makeNamespace("pods");
    const metadata = { namespace, name: "rank-0" };
    const pod = await create(direct, pods, {
      metadata,
      spec: {
        schedulingGates: [{ name: "example.com/other" }, { name: "csps.io/gang" }],
        containers: [{ name: "engine", image: "csps/engine-cpu:0.1.0" }],
        terminationGracePeriodSeconds: 0,
      },
    });
    const opened = await ungate(direct, pod, "csps.io/gang");
    expect(opened.spec?.schedulingGates).toEqual([{ name: "example.com/other" }]);
    expect(await ungate(direct, opened, "csps.io/gang")).toBe(opened);
    await expect(ungate(direct, pod, "csps.io/gang")).rejects.toSatisfy(isInvalid);

    const slimmed = slimPod(opened);
    expect(slimmed.spec?.containers).toHaveLength(1);
    expect(byNode(slimmed)).toEqual([]);
    expect(JSON.stringify(slimmed).length).toBeLessThan(JSON.stringify(opened).length / 2);

    await expect(remove(direct, pods, pod, { uid: "somebody-else" })).rejects.toSatisfy(isConflict);
    await remove(direct, pods, pod, { uid: pod.metadata.uid, gracePeriodSeconds: 0 });
    await remove(direct, pods, pod);
    expect(await get(direct, pods, pod)).toBeUndefined();
  });
});

describe("events", () => {
  test("repeats become one Event with a series, and kubectl shows it", async () => {
    const namespace = await makeNamespace("events");
    const regarding = await create(direct, configMaps, { metadata: { namespace, name: "subject" } });
    const recorder = new EventRecorder({ cluster: direct, seriesMs: 60_000 });
    const occurrence = {
      regarding,
      type: "Warning",
      reason: "NoRoom",
      action: "Place",
      note: "2 of 4 ranks fit",
    } as const;
    for (let repeat = 0; repeat < 5; repeat += 1) recorder.record(occurrence);
    recorder.record({ ...occurrence, note: "x".repeat(5_000) });
    await recorder.flush(90_000);
    const { items } = await listPages(direct, { resource: events, namespace });
    const repeated = items.find((event) => event.note === "2 of 4 ranks fit");
    expect(items).toHaveLength(2);
    expect(repeated).toMatchObject({
      reason: "NoRoom",
      series: { count: 5 },
      reportingController: "csps.io/operator",
    });
    expect(await controlPlane.kubectl(["-n", namespace, "events"])).toContain("2 of 4 ranks fit");
  });
});

describe("leader election", () => {
  const terms = { durationMs: 10_000, renewDeadlineMs: 8_000, retryMs: 400 };

  test("one of two leads; on release the other takes over at once with a higher fence", async () => {
    const namespace = await makeNamespace("election");
    const elect = (identity: string): LeaderElector =>
      new LeaderElector({ cluster: direct, namespace, name: "operator", identity, terms });
    const [first, second] = [elect("first"), elect("second")];
    first.start();
    await eventually("the first leads", () => first.isLeader);
    second.start();
    await eventually("the second has looked", () => second.holder === "first");
    // Longer than the lease: renewals keep it.
    await new Promise((resolve) => setTimeout(resolve, 10_500));
    expect([first.isLeader, second.isLeader]).toEqual([true, false]);
    const fence = first.fence ?? 0;

    await first.stop();
    expect(first.isLeader).toBe(false);
    expect(
      (await get(direct, leases, { metadata: { namespace, name: "operator" } }))?.spec?.holderIdentity,
    ).toBe("");
    await eventually("the second leads", () => second.isLeader);
    expect(second.fence).toBe(fence + 1);
    await second.stop();
  });

  test("a leader that can't reach the server stops leading before another may take the lease", async () => {
    const namespace = await makeNamespace("partition");
    const lost: string[] = [];
    let lostFence = 0;
    const isolated = new LeaderElector({
      cluster: relayed,
      namespace,
      name: "operator",
      terms,
      onLost: (reason) => lost.push(reason),
    });
    const other = new LeaderElector({
      cluster: direct,
      namespace,
      name: "operator",
      terms,
      onStarted: () => {
        expect(isolated.isLeader).toBe(false);
      },
    });
    isolated.start();
    await eventually("it leads", () => isolated.isLeader);
    lostFence = isolated.fence ?? 0;
    other.start();
    proxy.cut();
    await eventually("the other leads", () => other.isLeader, 60_000);
    expect(lost).toHaveLength(1);
    expect(other.fence).toBe(lostFence + 1);
    proxy.restore();
    await eventually("it sees who leads", () => isolated.holder === other.identity);
    expect(isolated.isLeader).toBe(false);
    await isolated.stop();
    await other.stop();
  });
});

const groupSpec: SPGroup["spec"] = {
  deployment: "demo",
  revision: "r1",
  ranks: 2,
  minRanks: 2,
  ordinal: 0,
  mode: "auto",
  sparseAttention: { mode: "Disabled", minTokens: 2048, budgetPercent: 100, qualityFloorPercent: 98 },
  model: {
    name: "demo",
    contextLength: 4096,
    source: { image: { reference: "csps/model-smollm2:0.1.0", path: "/model", pullPolicy: "IfNotPresent" } },
  },
  engine: { backend: "cpu", dtype: "auto", imagePullPolicy: "IfNotPresent" },
  tensorParallel: { degree: 1 },
  rank: { terminationGracePeriodSeconds: 60 },
  stateStoreSecret: "demo-state",
  controlTokenSecret: "demo-control-token",
};
