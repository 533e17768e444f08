/**
 * The cluster state on a real redis-server with many live requests:
 *
 *     npm run bench:state [-- --requests 100000] [--seconds 3] [--callers 32]
 *
 * Fills the index with shard maps, says what one costs in Redis' memory, then calls each verb from concurrent callers
 * for some seconds. At the end it plays what a pool asks of Redis for a request, a map that is put and removed, and counts
 * by Redis' own statistics how often that reaches it. Here nothing is served: that real ranks ask for no more, and for
 * answers of 80 tokens as little as for those of 8, is held by runtime/engine/tests/ranks/test_redis_round_trips.py. The
 * gateway reads Redis once a second in the background, tells of prefixes together every two, and never while it serves.
 */
import { parseArgs } from "node:util";
import { Redis } from "ioredis";
import type { ClusterState, StateAnswer } from "./clusterState.ts";
import { createRedisClusterState } from "./redisClusterState.ts";
import { aMap, aReport } from "./testing/conformance.ts";
import { startRedisServer } from "./testing/redisServer.ts";

const usage = "usage: npm run bench:state [-- --requests N] [--seconds S] [--callers C]";
const lifeMs = 3_600_000;
const ranks = 64;
const shardsOfMap = 8;
/** A round trip of Redis that a request waits for, or that a pool makes for it. */
const mostRoundTripsPerRequest = 2;

interface Scale {
  readonly requests: number;
  readonly seconds: number;
  readonly callers: number;
}

type Call = (state: ClusterState, turn: number) => Promise<StateAnswer<unknown>>;

const calls: Readonly<Record<string, Call>> = {
  "rank_report (heartbeat)": (state, turn) => state.reportRank(report(turn % ranks), lifeMs),
  "shard_put (changed map)": (state, turn) => state.putShards(map(turn % 1_000, 2 + turn), lifeMs),
  "shard_put + shard_remove (a request)": async (state, turn) => {
    await state.putShards(map(turn, 1, "new"), lifeMs);
    return await state.removeShards(`new-${String(turn)}`, 1);
  },
  "rank_list (a gateway's poll)": (state) => state.listRanks(),
  "prefix_note (pages of a prompt)": (state, turn) => state.notePrefixes("m-decode", pageKeys(turn)),
  fence_check: (state) => state.checkFence(1),
};

async function main(): Promise<void> {
  const scale = readScale();
  const server = await startRedisServer();
  const state = createRedisClusterState({
    url: server.socket,
    deployment: "bench/state",
    now: Date.now,
    commandTimeoutMs: 60_000,
  });
  const admin = new Redis(server.socket);
  try {
    await connected(state);
    for (let index = 0; index < ranks; index += 1) check(await state.reportRank(report(index), lifeMs));
    await fill(state, admin, scale);
    const rows: Record<string, object> = {};
    for (const [name, call] of Object.entries(calls)) rows[name] = await measured(state, call, scale);
    rows["shard_list (all maps, by one caller)"] = await measured(state, (one) => one.listShards(), {
      ...scale,
      callers: 1,
    });
    console.table(rows);
    await countRoundTrips(state, admin);
  } finally {
    await state.close();
    admin.disconnect();
    await server.dispose();
  }
}

async function fill(state: ClusterState, admin: Redis, { requests }: Scale): Promise<void> {
  const before = await usedBytes(admin);
  for (let first = 0; first < requests; first += 1_000) {
    const batch = Array.from({ length: Math.min(1_000, requests - first) }, (_, i) =>
      state.putShards(map(first + i, 1), lifeMs),
    );
    for (const written of await Promise.all(batch)) check(written);
  }
  const each = ((await usedBytes(admin)) - before) / requests;
  console.log(
    `${String(requests)} live requests of ${String(shardsOfMap)} shards: ${each.toFixed(0)} bytes of Redis each`,
  );
}

/** Calls per second and their latency; the callers wait for each answer before they ask again. */
async function measured(state: ClusterState, call: Call, { seconds, callers }: Scale): Promise<object> {
  const tookMs: number[] = [];
  let turn = 0;
  const began = performance.now();
  const until = began + seconds * 1_000;
  async function ask(): Promise<void> {
    while (performance.now() < until) {
      const start = performance.now();
      turn += 1;
      check(await call(state, turn));
      tookMs.push(performance.now() - start);
    }
  }
  await Promise.all(Array.from({ length: callers }, ask));
  const perSecond = tookMs.length / ((performance.now() - began) / 1_000);
  tookMs.sort((a, b) => a - b);
  const at = (share: number): number => Number((tookMs[Math.floor(tookMs.length * share)] ?? NaN).toFixed(2));
  return { "calls/s": Math.round(perSecond), "p50 ms": at(0.5), "p99 ms": at(0.99) };
}

async function countRoundTrips(state: ClusterState, admin: Redis): Promise<void> {
  const played = 1_000;
  await admin.config("RESETSTAT");
  for (let turn = 0; turn < played; turn += 1) {
    check(await state.putShards(map(turn, 1, "life"), lifeMs));
    check(await state.removeShards(`life-${String(turn)}`, 1));
  }
  const statistics = await admin.info("commandstats");
  const scripts = [...statistics.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)];
  const perRequest = scripts.reduce((sum, [, count]) => sum + Number(count), 0) / played;
  console.log(
    `${perRequest.toFixed(2)} round trips of Redis for a map that is put and removed, as a pool does for a request`,
  );
  if (perRequest > mostRoundTripsPerRequest) process.exitCode = 1;
}

async function usedBytes(admin: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await admin.info("memory"))?.[1]);
}

async function connected(state: ClusterState): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await state.checkFence(0)).ok) {
    if (Date.now() > deadline) throw new Error("redis-server does not answer");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function check(answer: StateAnswer<unknown>): void {
  if (!answer.ok) throw new Error(`${answer.problem}: ${answer.message}`);
}

function report(index: number): ReturnType<typeof aReport> {
  return aReport({ rankId: `m-decode-${String(index)}`, role: "decode", group: "m-decode" });
}

/** Of a prompt of 32,768 tokens, in pages of 64. */
function pageKeys(turn: number): string[] {
  return Array.from({ length: 512 }, (_, page) => `${String(turn)}-${String(page)}`.padStart(32, "0"));
}

/** A prompt of 32,768 tokens over eight ranks. */
function map(index: number, version: number, name = "held"): ReturnType<typeof aMap> {
  const tokens = 4_096;
  const shards = Array.from({ length: shardsOfMap }, (_, shard) => ({
    rankId: `m-decode-${String((index + shard) % ranks)}`,
    firstToken: shard * tokens,
    tokens,
    bytes: tokens * 131_072,
  }));
  return aMap({ requestId: `${name}-${String(index)}`, epoch: 1, version, shards });
}

function readScale(): Scale {
  const { values } = parseArgs({
    options: {
      requests: { type: "string", default: "100000" },
      seconds: { type: "string", default: "3" },
      callers: { type: "string", default: "32" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const amount = (name: "requests" | "seconds" | "callers"): number => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < 1)
      throw new Error(`--${name} is ${values[name]} but must be a whole number above 0\n${usage}`);
    return value;
  };
  return { requests: amount("requests"), seconds: amount("seconds"), callers: amount("callers") };
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
});
