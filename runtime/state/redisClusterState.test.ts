import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../e2e/cluster/freePort.ts";
import type { ClusterState, StateProblem } from "./clusterState.ts";
import { createRedisClusterState } from "./redisClusterState.ts";
import type { RedisSettings } from "./redisClusterState.ts";
import { aMap, aReport, describeClusterState, valueOf } from "./testing/conformance.ts";
import { startRedisServer } from "./testing/redisServer.ts";
import type { RedisServer } from "./testing/redisServer.ts";
import { startRedisCluster, startSentinelPair, startTlsServer } from "./testing/topologies.ts";
import type { TlsTopology, Topology } from "./testing/topologies.ts";

let server: RedisServer;
const states: ClusterState[] = [];

beforeAll(async () => {
  server = await startRedisServer();
});

afterEach(async () => {
  for (const state of states.splice(0)) await state.close();
});

afterAll(async () => {
  await server.dispose();
});

/** On a busy machine an answer takes its time; only tests of silence are in a hurry. */
const patientMs = 20_000;
/** For those: soon given up, and asked again. */
const quickMs = 1_000;

function open(over: Partial<RedisSettings> = {}): ClusterState {
  const settings = { url: server.socket, deployment: "ns/d", now: Date.now, commandTimeoutMs: patientMs };
  const state = createRedisClusterState({ ...settings, ...over });
  states.push(state);
  return state;
}

function eventually<T>(look: () => Promise<T>) {
  return expect.poll(look, { timeout: 30_000, interval: 20 });
}

/** Asks until Redis answers; the connection is made in the background. */
async function untilReachable(state: ClusterState): Promise<void> {
  await eventually(async () => (await state.checkFence(0)).ok).toBe(true);
}

async function problemOf(state: ClusterState): Promise<StateProblem | undefined> {
  const answer = await state.reportRank(aReport(), 1_000);
  return answer.ok ? undefined : answer.problem;
}

describeClusterState("redis", {
  open: (deployment, now) => connecting({ url: server.socket, deployment, now }),
});

/** The conformance suite asks at once; an adapter may still be connecting, so each method first waits for that. */
function connecting(settings: Partial<RedisSettings>): ClusterState {
  const connected = open(settings);
  const ready = untilReachable(connected);
  return new Proxy(connected, {
    get:
      (target, name: keyof ClusterState) =>
      async (...given: unknown[]) => {
        await ready;
        return (target[name] as (...values: unknown[]) => unknown).apply(target, given);
      },
  });
}

describe("a cluster of three", () => {
  let cluster: Topology;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(async () => {
    await cluster.dispose();
  });
  describeClusterState("redis cluster", {
    open: (deployment, now) => connecting({ url: cluster.url, deployment, now }),
  });
});

describe("a primary under Sentinels", () => {
  it("is found, and found again when another has taken its place", async () => {
    const pair = await startSentinelPair();
    try {
      const state = open({ url: pair.url, commandTimeoutMs: quickMs });
      await eventually(() => problemOf(state)).toBeUndefined();
      await pair.failOver();
      await eventually(() => problemOf(state)).toBeUndefined();
    } finally {
      await pair.dispose();
    }
  }, 150_000);

  it("is left when it is cut off without a word, and is not gone back to when it is there again", async () => {
    const pair = await startSentinelPair();
    try {
      const state = open({ url: pair.url, commandTimeoutMs: quickMs });
      const advanced = (fence: number) => () => state.advanceFence(fence);
      await eventually(advanced(1)).toEqual({ ok: true, value: "accepted" });
      await pair.split();
      await eventually(() => problemOf(state)).toBeUndefined();
      await eventually(advanced(2)).toEqual({ ok: true, value: "accepted" });
      pair.heal();
      // What the new primary was told stands, and goes on standing.
      await eventually(() => state.checkFence(1)).toEqual({ ok: true, value: "stale" });
      const another = open({ url: pair.url });
      await untilReachable(another);
      expect(valueOf(await another.advanceFence(1))).toBe("stale");
    } finally {
      await pair.dispose();
    }
  }, 150_000);
});

describe("a server behind TLS", () => {
  let secured: TlsTopology;
  beforeAll(async () => {
    secured = await startTlsServer();
  });
  afterAll(async () => {
    await secured.dispose();
  });

  it("is trusted by the authority in a file, and by no other", async () => {
    const trusting = open({ url: secured.url, ca: secured.ca });
    await untilReachable(trusting);
    const doubting = open({ url: secured.url });
    await eventually(() => problemOf(doubting)).toBe("untrusted");
  });

  it("serves a user who may do no more than the verbs need, in one deployment", async () => {
    const url = await secured.limitedUrl("ns/limited");
    const state = open({ url, ca: secured.ca, deployment: "ns/limited" });
    await untilReachable(state);
    expect(valueOf(await state.reportRank(aReport(), 1_000))).toBe("accepted");
    expect(valueOf(await state.putShards(aMap(), 1_000))).toBe("accepted");
    expect(valueOf(await state.listRanks())).toHaveLength(1);
    expect(valueOf(await state.listShards())).toHaveLength(1);
    expect(valueOf(await state.removeShards("r1", 2))).toBe(true);
    expect(valueOf(await state.clear(1))).toBe(2);
    expect(valueOf(await state.removeRank("m-prefill-0-0", "uid-1"))).toBe(false);
    const elsewhere = open({ url, ca: secured.ca, deployment: "ns/other" });
    await eventually(() => problemOf(elsewhere)).toBe("denied");
  });
});

describe("redis adapter", () => {
  it("touches only the declared keys, all under one hash tag", async () => {
    const deployment = "team/long";
    const state = open({ deployment });
    await untilReachable(state);
    await state.reportRank(aReport(), 1_000);
    await state.putShards(aMap(), 1_000);
    await state.advanceFence(1);
    const redis = new Redis(server.socket);
    const keys = (await redis.keys("*")).filter((key) => key.includes("team")).sort();
    redis.disconnect();
    const names = ["fence", "rankExpiry", "ranks", "shardExpiry", "shards"];
    expect(keys).toEqual(names.map((name) => `csps:{${deployment}}:${name}`));
  });

  it("leaves out reports that are not in the schema", async () => {
    const state = open({ deployment: "ns/odd" });
    await untilReachable(state);
    await state.reportRank(aReport({ rankId: "good" }), 60_000);
    const redis = new Redis(server.socket);
    await redis.hset("csps:{ns/odd}:ranks", "bad", '{"incarnation":"x"}');
    await redis.hset("csps:{ns/odd}:ranks", "worse", "not json");
    redis.disconnect();
    expect(valueOf(await state.listRanks()).map((rank) => rank.rankId)).toEqual(["good"]);
  });

  it("answers unreachable at once while Redis is stopped, and works again when it is back", async () => {
    const own = await startRedisServer();
    try {
      const seen: (StateProblem | undefined)[] = [];
      const state = open({ url: own.socket, observe: (call) => seen.push(call.problem) });
      await untilReachable(state);
      await own.stop();
      await eventually(() => problemOf(state)).toBe("unreachable");
      expect(seen).toContain("unreachable");
      await own.start();
      await untilReachable(state);
      expect(await problemOf(state)).toBeUndefined();
      expect(valueOf(await state.listRanks())).toHaveLength(1);
    } finally {
      await own.dispose();
    }
  });

  it("gives up on a Redis that hangs, and works again when it goes on", async () => {
    const own = await startRedisServer();
    try {
      const state = open({ url: own.socket, commandTimeoutMs: 100 });
      await untilReachable(state);
      own.pause();
      expect(await problemOf(state)).toBe("timeout");
      own.resume();
      await eventually(() => problemOf(state)).toBeUndefined();
    } finally {
      await own.dispose();
    }
  });

  it("names a replica that takes no writes", async () => {
    const own = await startRedisServer();
    try {
      const state = open({ url: own.socket });
      await untilReachable(state);
      const redis = new Redis(own.socket);
      await redis.replicaof("127.0.0.1", 1);
      redis.disconnect();
      await eventually(() => problemOf(state)).toBe("readOnly");
    } finally {
      await own.dispose();
    }
  });

  it("names a Redis whose memory is full, and still reads from it", async () => {
    const own = await startRedisServer(["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    try {
      const state = open({ url: own.socket });
      await untilReachable(state);
      expect(await problemOf(state)).toBe("full");
      expect(valueOf(await state.listRanks())).toEqual([]);
    } finally {
      await own.dispose();
    }
  });

  it("names a wrong password, and takes the right one from a URL or beside it", async () => {
    const port = await freePort();
    const own = await startRedisServer([
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--requirepass",
      "p:w",
    ]);
    try {
      const url = `redis://127.0.0.1:${String(port)}/0`;
      const without = open({ url });
      await eventually(() => problemOf(without)).toBe("denied");
      const beside = open({ url, password: "p:w" });
      await untilReachable(beside);
      const within = open({ url: `redis://:p%3Aw@127.0.0.1:${String(port)}/0` });
      await untilReachable(within);
    } finally {
      await own.dispose();
    }
  });
});
