/** The verbs of kubectl-csps that ask a decode pool, over a pool that is played and the index in a real Redis. */
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import { createRedisClusterState } from "../../runtime/state/redisClusterState.ts";
import { valueOf } from "../../runtime/state/testing/conformance.ts";
import { type RedisServer, startRedisServer } from "../../runtime/state/testing/redisServer.ts";
import { printed, type Report } from "../cli/output/report.ts";
import type { PoolLook } from "../cli/pool.ts";
import { planDrainOf } from "../cli/verbs/drain.ts";
import { kv } from "../cli/verbs/kv.ts";
import { kvVerify } from "../cli/verbs/kvVerify.ts";
import { planRebalanceOf } from "../cli/verbs/rebalance.ts";
import type { DecodePool, Pod } from "../kube/object.ts";
import { FakePool } from "./testing/fakePool.ts";

const group = "m-decode";
const ranks = [0, 1, 2].map((ordinal) => ({
  rankId: `${group}-${ordinal}`,
  incarnation: `uid-${ordinal}`,
  address: "127.0.0.1",
  controlPort: 9000,
  transferPort: 9001,
}));
const [coordinator] = ranks;

function lookAt(played: FakePool): PoolLook {
  if (coordinator === undefined) throw new Error("There is no rank");
  const rebalance = { mode: "Enabled", concurrentMoves: 4, imbalancePercent: 10, drainSeconds: 300 };
  const spec = { rebalance, engine: { backend: "cpu" } };
  const pods = ranks.map(({ rankId }) => ({
    metadata: { name: rankId },
    spec: { nodeName: `on-${rankId}` },
  }));
  return {
    pool: { metadata: { name: group }, spec } as unknown as DecodePool,
    pods: pods as unknown as Pod[],
    inventory: () => Promise.resolve(played.inventory(group, coordinator)),
  };
}

const lopsided = (): FakePool => new FakePool(ranks, { r0: "aaaaaaaaaaaa", r1: "aaaaaab" });
const text = (report: Report): string => printed(report, "table", false);

describe("kv", () => {
  it("shows the heat of each rank, and on which ranks each request lies", async () => {
    const report = await kv(lookAt(lopsided()));
    const told = text(report);
    expect(told).toContain(
      "The slowest scan is 184 % above the mean, the fullest memory 184 % above the mean.",
    );
    expect(told).toMatch(/m-decode-0 +on-m-decode-0 +18\/100 +18 % +18\.0 MiB +1 +2 +open/);
    expect(told).toMatch(/m-decode-2 +on-m-decode-2 +0\/100 +0 % +0\.0 MiB +0 +0 +open/);
    expect(told).toMatch(/r1 +m-decode-1 +7 +10000 tokens +m-decode-0 1, .*, m-decode-1 1$/m);
    expect(told).toContain("none in the last ten minutes");
  });

  it("gives the same as JSON and as YAML, and colours on a terminal alone", async () => {
    const report = await kv(lookAt(lopsided()));
    const data: unknown = JSON.parse(printed(report, "json", false));
    expect(data).toMatchObject({
      pool: group,
      ranks: [{ pagesHeld: 18 }, { pagesHeld: 1 }, { pagesHeld: 0 }],
    });
    expect(printed(report, "yaml", false)).toContain("pagesHeld: 18");
    const escape = "\u001b[";
    expect(text(report)).not.toContain(escape);
    expect(printed(report, "json", true)).not.toContain(escape);
    expect(printed(report, "table", true)).toContain(escape);
  });
});

describe("kv verify", () => {
  let server: RedisServer;
  let state: ClusterState;
  let played: FakePool;

  beforeAll(async () => {
    server = await startRedisServer();
    state = createRedisClusterState({
      url: server.socket,
      deployment: "ns/m",
      now: Date.now,
      commandTimeoutMs: 5_000,
    });
    await vi.waitFor(async () => valueOf(await state.checkFence(0)), 30_000);
  });

  afterAll(async () => {
    await state.close();
    await server.dispose();
  });

  beforeEach(async () => {
    played = lopsided();
    valueOf(await state.clear(1));
  });

  /** As the pool's ranks would, one shard a run of pages. */
  async function publish(over: Readonly<Record<string, string>> = {}): Promise<void> {
    for (const request of (await lookAt(played).inventory()).requests) {
      const shards = request.shards.map(({ rankId, firstPage, pages }) => ({
        rankId: over[rankId] ?? rankId,
        ...{ firstToken: firstPage * 64, tokens: pages * 64, bytes: 1 },
      }));
      const map = { requestId: request.requestId, pool: group, epoch: 1, version: 1, shards };
      expect(valueOf(await state.putShards(map, 60_000))).toBe("accepted");
    }
  }

  const verify = async (): Promise<Report> => kvVerify(lookAt(played), state);

  it("agrees when the index says of each request what the engines say", async () => {
    await publish();
    const report = await verify();
    expect(report.exit).toBe(0);
    expect(text(report)).toBe("m-decode: 2 requests compared; the index agrees with the engines.\n");
  });

  it("names what a wiped index lacks, and ends with 4", async () => {
    const report = await verify();
    expect(report.exit).toBe(4);
    expect(text(report)).toMatch(/2 differ\.[^]*r0 +missing +engines hold it and the index does not know it/);
  });

  it("names what lies elsewhere, and what no engine holds", async () => {
    await publish({ "m-decode-1": "m-decode-2" });
    const gone = [{ rankId: "m-decode-0", firstToken: 0, tokens: 64, bytes: 1 }];
    await state.putShards({ requestId: "gone", pool: group, epoch: 1, version: 1, shards: gone }, 60_000);
    const { data, exit } = await verify();
    expect(exit).toBe(4);
    expect(data).toMatchObject({
      compared: 2,
      differences: [
        { requestId: "gone", kind: "stray" },
        {
          requestId: "r1",
          kind: "differs",
          what: "it lies on m-decode-0 384, m-decode-1 64, the index says m-decode-0 384, m-decode-2 64",
        },
      ],
    });
  });

  it("leaves out a request whose map changed while it looked", async () => {
    const before = await lookAt(played).inventory();
    const requests = before.requests.map((one) => ({ ...one, mapVersion: one.mapVersion + 1 }));
    const answers = [before, { ...before, requests }];
    const look = { ...lookAt(played), inventory: () => Promise.resolve(answers.shift() ?? before) };
    expect((await kvVerify(look, state)).data).toMatchObject({ compared: 0, differences: [] });
  });
});

describe("what would be moved", () => {
  it("rebalance tells the moves with their pages and bytes, and orders none", async () => {
    const played = lopsided();
    const told = text(await planRebalanceOf(lookAt(played)));
    expect(told).toMatch(/r0 +m-decode-0 +m-decode-2 +0-\d+ +\d+\.0 MiB/);
    expect(told).toContain("Nothing was changed.");
    expect(played.moves).toEqual([]);
  });

  it("drain tells how much would go, and ends with 3 when the others lack room", async () => {
    const fits = await planDrainOf(lookAt(lopsided()), "m-decode-0");
    expect(fits.exit).toBe(0);
    expect(text(fits)).toContain("m-decode-0 holds 18 pages of 2 requests");
    expect(text(fits)).toContain("18.0 MiB would be copied in all. Nothing was changed.");
    const full = new FakePool(ranks, { r0: "a".repeat(60), r1: "b".repeat(90), r2: "c".repeat(90) });
    const stuck = await planDrainOf(lookAt(full), "m-decode-0");
    expect(stuck.exit).toBe(3);
    expect(text(stuck)).toContain("60 pages on m-decode-0 need a place and the others have room for 16");
  });
});
