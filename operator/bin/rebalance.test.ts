/** The rebalancer and the drain on a real API server and a real Redis; the ranks are played, their messages are real. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ClusterState } from "../../runtime/state/clusterState.ts";
import { createRedisClusterState } from "../../runtime/state/redisClusterState.ts";
import { aMoveRecord, valueOf } from "../../runtime/state/testing/conformance.ts";
import { type RedisServer, startRedisServer } from "../../runtime/state/testing/redisServer.ts";
import { create, mergePatch } from "../kube/apply.ts";
import type { DecodePool, Pod } from "../kube/object.ts";
import { configMaps, cspsDeployments, decodePools, leases, nodes, pods, secrets } from "../kube/resource.ts";
import { imbalance, poolLoads } from "../planning/rebalance/load.ts";
import { replayRebalance } from "../planning/rebalance/plan.ts";
import { defaultRebalancePolicy } from "../planning/rebalance/pool.ts";
import type { RebalanceRecord } from "../planning/rebalance/decision.ts";
import { sameAsJson } from "../planning/status/records.ts";
import { poolSnapshot } from "../ranks/poolSnapshot.ts";
import { rebalanceAnnotation } from "../ranks/rebalanceMark.ts";
import { readRecords } from "../records/keeper.ts";
import type { RunningOperator } from "./compose.ts";
import { runCliHere } from "./testing/cliHere.ts";
import type { CliAnswer } from "./testing/cliProcess.ts";
import { FakePool } from "./testing/fakePool.ts";
import { eventually, World } from "./testing/world.ts";

let world: World;
let redis: RedisServer;
let namespace: string;
let state: ClusterState;
let operator: RunningOperator;

const group = "m-decode";
const lopsided = Object.fromEntries(["r0", "r1", "r2", "r3"].map((name) => [name, "a".repeat(12)]));

function aSpec(ranks: number, mode = "Enabled"): object {
  const gpu = { resources: { limits: { "nvidia.com/gpu": 1 } } };
  return {
    model: { name: "tiny", source: { image: { reference: "model:1" } }, contextLength: 2048 },
    engine: { backend: "cpu" },
    decode: { ranks, rank: gpu, rebalance: { mode } },
    stateStore: { mode: "External", urlSecret: { name: "redis" } },
  };
}

beforeAll(async () => {
  [world, redis] = await Promise.all([World.start(), startRedisServer()]);
  for (const name of ["n0", "n1", "n2", "n3"]) await world.addNode({ name, rack: "ra", gpus: 1 });
  namespace = await world.newNamespace();
  state = createRedisClusterState({
    url: redis.socket,
    deployment: `${namespace}/m`,
    now: Date.now,
    commandTimeoutMs: 5_000,
  });
  await create(world.cluster, secrets, {
    metadata: { namespace, name: "redis" },
    type: "Opaque",
    data: { url: Buffer.from(redis.socket).toString("base64") },
  });
  operator = await world.startOperator();
  await world.applyDeployment(namespace, aSpec(3));
});

afterAll(async () => {
  await state.close();
  await world.stop();
  await redis.dispose();
});

const readPool = async (): Promise<DecodePool> => {
  const pool = await world.read(decodePools, namespace, group);
  if (pool === undefined) throw new Error("There is no pool");
  return pool;
};

const decodePods = async (): Promise<Pod[]> => {
  const all = await world.list(pods, namespace);
  return all.filter((pod) => pod.metadata.labels?.["csps.io/group"] === group);
};

async function untilServing(ranks: number): Promise<void> {
  await eventually(async () => {
    const { status } = await readPool();
    expect(status?.ranks?.map((rank) => rank.enginePhase)).toEqual(Array(ranks).fill("serving"));
    expect((await world.read(cspsDeployments, namespace, "m"))?.status?.reason).toBe("Serving");
  });
}

/** Gives every rank of the pool the same KV to hold. */
function fill(lies: Readonly<Record<string, string>>): FakePool {
  const ranks = world.kubelet.ranksOf(group);
  const kv = new FakePool(
    ranks.map((rank) => rank.ref),
    lies,
  );
  for (const rank of ranks) rank.pool = kv;
  return kv;
}

function memoryImbalance(kv: FakePool): number {
  const [rank] = world.kubelet.ranksOf(group);
  if (rank === undefined) throw new Error("There is no rank");
  const snapshot = poolSnapshot(kv.inventory(group, rank.ref), { admits: () => true, ordered: [] });
  return imbalance([...poolLoads({ ...snapshot, moves: [] }, defaultRebalancePolicy).values()], "memory");
}

const csps = (...args: readonly string[]): Promise<CliAnswer> =>
  runCliHere([...args, "-n", namespace, "--kubeconfig", world.plane.kubeconfigPath]);

/** The reason of the last look at the pool, as dashboards see it. */
async function untilState(reason: string): Promise<void> {
  await eventually(async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${operator.metricsPort}/metrics`)).text();
    const told = /csps_rebalance_state\{.*reason="(\w+)"\} 1/.exec(metrics)?.[1];
    expect(told).toBe(reason);
  });
}

beforeEach(async () => {
  const { spec } = await eventually(readPool);
  await untilServing(spec.ranks);
});

describe("the rebalancer", { timeout: 360_000 }, () => {
  it("evens out a lopsided pool, leaves no record behind, and each decision replays", async () => {
    const kv = fill(lopsided);
    const before = memoryImbalance(kv);
    await eventually(() => {
      expect(memoryImbalance(kv)).toBeLessThan(0.4 * before);
    });
    await eventually(async () => {
      expect(kv.moves.map((move) => move.phase)).not.toContain("copying");
      expect(valueOf(await state.listMoves())).toEqual([]);
    });
    expect(new Set(kv.moves.map((move) => move.phase))).toEqual(new Set(["committed"]));
    await eventually(async () => {
      const subjects = (await readPool()).status?.decisions?.map((one) => one.subject);
      expect(subjects).toContain(`rebalancing of ${group}`);
    });
    const kept = await readRecords(world.cluster, { namespace, reference: { name: "m" } }, "rebalance");
    expect(kept.length).toBeGreaterThan(0);
    for (const { record } of kept) {
      const made = record as RebalanceRecord;
      expect(sameAsJson(replayRebalance(made), made.decision)).toBe(true);
    }
    const seen = await csps("kv", "m");
    expect(seen).toMatchObject({ code: 0, stderr: "" });
    expect(seen.stdout).toMatch(/m-decode-0 +n\d +\d+\/100/);
    // The played ranks publish nothing.
    const verified = await csps("kv", "verify", "m", "-o", "json");
    expect(verified.code).toBe(4);
    const { differences } = JSON.parse(verified.stdout) as { differences: { kind: string }[] };
    expect(differences.map(({ kind }) => kind)).toEqual(Object.keys(lopsided).map(() => "missing"));
    const told = await csps("explain", "m", "--replay", "-o", "json");
    expect(told).toMatchObject({ code: 0, stderr: "" });
    const replayed = JSON.parse(told.stdout) as { kind: string; verdict: string }[];
    expect(replayed.length).toBeGreaterThanOrEqual(kept.length);
    expect(new Set(replayed.map(({ kind, verdict }) => `${kind} ${verdict}`))).toEqual(
      new Set(["rebalance same", "placement same"]),
    );
  });

  it("has what a record no longer leads to told by explain --replay, with status 4", async () => {
    const key = "rebalance.jsonl";
    const [first] = await readRecords(world.cluster, { namespace, reference: { name: "m" } }, "rebalance");
    const made = first?.record as RebalanceRecord;
    const decision = { ...made.decision, choice: "another" };
    const line = JSON.stringify({ ...first, record: { ...made, decision } });
    await mergePatch(
      world.cluster,
      configMaps,
      { metadata: { namespace, name: "m-decisions" } },
      { data: { [key]: line } },
    );
    const told = await csps("explain", "m", "--replay");
    expect(told.code).toBe(4);
    expect(told.stdout).toMatch(/rebalancing of m-decode +differs/);
  });

  const faults: readonly (readonly [string, () => unknown, () => unknown])[] = [
    ["is away", () => redis.stop(), () => redis.start()],
    [
      "hangs",
      () => {
        redis.pause();
      },
      () => {
        redis.resume();
      },
    ],
    [
      "is full",
      () => redis.ask("CONFIG", "SET", "maxmemory", "1"),
      () => redis.ask("CONFIG", "SET", "maxmemory", "0"),
    ],
    [
      "takes no writes",
      () => redis.ask("REPLICAOF", "127.0.0.1", "1"),
      () => redis.ask("REPLICAOF", "NO", "ONE"),
    ],
  ];
  it.each(faults)(
    "begins nothing while Redis %s, says so, and goes on afterwards",
    async (_, fault, mend) => {
      await fault();
      const kv = fill(lopsided);
      try {
        await untilState("StateStoreAway");
        expect(kv.moves).toEqual([]);
      } finally {
        await mend();
      }
      await eventually(async () => {
        expect(kv.moves.some((move) => move.phase === "committed")).toBe(true);
        // The next fault finds nothing under way.
        expect(kv.moves.map((move) => move.phase)).not.toContain("copying");
        expect(valueOf(await state.listMoves())).toEqual([]);
      });
      await world.untilTold(namespace, "RebalanceFrozen");
      expect(await decodePods()).toHaveLength(3);
    },
  );

  it("evens a pool out although Redis loses its data under way", async () => {
    const kv = fill(lopsided);
    const before = memoryImbalance(kv);
    await eventually(() => {
      expect(kv.moves).not.toEqual([]);
    });
    await redis.ask("FLUSHALL");
    await eventually(() => {
      expect(memoryImbalance(kv)).toBeLessThan(0.4 * before);
    });
  });

  it("goes on with what an earlier leader recorded, and lets go what no longer fits", async () => {
    await world.stopOperator();
    const kv = fill({ old: "aaaabbbbcccc" });
    const [from, to] = world.kubelet.ranksOf(group).map((rank) => rank.ref);
    const { order } = aMoveRecord();
    const ranks = { from: from?.rankId ?? "", fromIncarnation: from?.incarnation ?? "" };
    const given = { ...ranks, to: to?.rankId ?? "", toIncarnation: to?.incarnation ?? "" };
    const record = (requestId: string) => ({
      // Not too old for the next leader, however long it takes to begin.
      ...aMoveRecord({ moveId: `${requestId}@1`, requestId, recordedMs: Date.now() + 300_000 }),
      order: { ...order, ...given, moveId: `${requestId}@1`, requestId, pages: 2, bytesPerSecond: 2 ** 30 },
    });
    const fence = await leaderFence();
    for (const name of ["old", "over"])
      expect(valueOf(await state.beginMove(record(name), fence, 600_000))).toBe("accepted");
    operator = await world.startOperator();
    await eventually(async () => {
      expect(kv.moves.map((move) => `${move.moveId} ${move.phase}`)).toContain("old@1 committed");
      expect(valueOf(await state.listMoves())).toEqual([]);
    });
    expect(kv.moves.map((move) => move.requestId)).not.toContain("over");
  });

  it("is shut out by the fence of a newer leader, and moves nothing", async () => {
    fill({ even: "abc" });
    await untilState("Balanced");
    await eventually(async () => {
      expect(valueOf(await state.listMoves())).toEqual([]);
    });
    const newer = (await leaderFence()) + 1_000;
    valueOf(await state.advanceFence(newer));
    const kv = fill(lopsided);
    await eventually(async () => {
      const choices = (await readPool()).status?.decisions?.map((one) => one.choice) ?? [];
      // In other words where it could not give back the record of a move that is over.
      expect(choices.join("\n")).toContain("another operator with a newer term moves pages");
    });
    expect(kv.moves).toEqual([]);
    expect(valueOf(await state.clear(newer))).toBeGreaterThan(0);
  });
});

async function leaderFence(): Promise<number> {
  const lease = await world.read(leases, "csps-system", "csps-operator");
  return lease?.spec?.leaseTransitions ?? 0;
}

describe("a rank that leaves", { timeout: 360_000 }, () => {
  beforeAll(async () => {
    await world.applyDeployment(namespace, aSpec(3, "Disabled"));
    await eventually(async () => {
      expect((await readPool()).spec.rebalance.mode).toBe("Disabled");
    });
  });

  it("gives pages to others when kubectl csps rebalance asks for it, although the mode is Disabled", async () => {
    const kv = fill(lopsided);
    const before = memoryImbalance(kv);
    expect(kv.moves).toEqual([]);
    const { code, stdout } = await csps("rebalance", "m");
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: "m-decode is balanced for 2 min although its mode is Disabled.\n",
    });
    await eventually(() => {
      expect(memoryImbalance(kv)).toBeLessThan(0.4 * before);
    });
    await mergePatch(world.cluster, decodePools, await readPool(), {
      metadata: { annotations: { [rebalanceAnnotation]: null } },
    });
  });

  it("is, when the pool gets smaller, the one whose emptying moves the fewest bytes, and hands over first", async () => {
    const kv = fill({ r0: "aaaaab", r1: "ccccc" });
    kv.holds = true;
    await world.applyDeployment(namespace, aSpec(2, "Disabled"));
    await eventually(async () => {
      const rank = (await readPool()).status?.ranks?.find((one) => one.drain !== undefined);
      expect(rank).toMatchObject({
        rankId: "m-decode-1",
        drain: {
          cause: "ScaleIn",
          phase: "MigrateShards",
          heldPages: 1,
          message: "1 of 1 pages are left to move",
        },
      });
    });
    kv.holds = false;
    await eventually(async () => {
      expect((await decodePods()).map((pod) => pod.metadata.name).sort()).toEqual([
        "m-decode-0",
        "m-decode-2",
      ]);
    });
    expect(kv.heldPages("m-decode-1")).toBe(0);
    await untilServing(2);
    expect(world.kubelet.livesOf(`${namespace}/m-decode-1`)).toBe(1);
  });

  it("leaves as kubectl csps drain asks, once it has handed over what it holds, and is made again", async () => {
    const kv = fill({ r0: "aaab" });
    const [first] = (await decodePods()).map((pod) => pod.metadata);
    const dry = await csps("drain", first?.name ?? "", "--dry-run");
    expect(dry).toMatchObject({ code: 0, stderr: "" });
    expect(dry.stdout).toContain("would be copied in all. Nothing was changed.");
    const { code, stdout } = await csps("drain", first?.name ?? "");
    expect(code).toBe(0);
    expect(stdout).toContain(`${first?.name ?? ""} is asked to hand over what it holds`);
    await eventually(async () => {
      const successor = (await decodePods()).find((pod) => pod.metadata.name === first?.name);
      expect(["", undefined, first?.uid]).not.toContain(successor?.metadata.uid);
    });
    expect(kv.heldPages(first?.name ?? "")).toBe(0);
    await untilServing(2);
  });

  it("goes from a cordoned node to another, once it has handed over what it holds", async () => {
    const kv = fill({ r0: "aaab" });
    const [first] = await decodePods();
    const node = first?.spec?.nodeName ?? "";
    await mergePatch(world.cluster, nodes, { metadata: { name: node } }, { spec: { unschedulable: true } });
    await eventually(async () => {
      const successor = (await decodePods()).find((pod) => pod.metadata.name === first?.metadata.name);
      expect(successor?.metadata.uid).not.toBe(first?.metadata.uid);
      expect([node, "", undefined]).not.toContain(successor?.spec?.nodeName);
    });
    expect(kv.heldPages(first?.metadata.name ?? "")).toBe(0);
    await untilServing(2);
    await mergePatch(world.cluster, nodes, { metadata: { name: node } }, { spec: { unschedulable: null } });
  });
});
