import { afterAll, beforeAll, expect, it } from "vitest";
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import { createRedisClusterState } from "../../runtime/state/redisClusterState.ts";
import { aReport, valueOf } from "../../runtime/state/testing/conformance.ts";
import { type RedisServer, startRedisServer } from "../../runtime/state/testing/redisServer.ts";
import { StateStores } from "./stateStores.ts";

const deployment = "ns/m";
let server: RedisServer;
let stores: StateStores;
let state: ClusterState;

beforeAll(async () => {
  server = await startRedisServer();
  stores = new StateStores(() => 1);
  state = createRedisClusterState({
    ...{ url: server.socket, deployment, now: Date.now, commandTimeoutMs: 30_000 },
  });
});

afterAll(async () => {
  await stores.close();
  await state.close();
  await server.dispose();
});

it("clears a store that is silent for a while, within its deadline", async () => {
  const target = { url: server.socket, ca: undefined, deployment, deadlineMs: 90_000 };
  expect(await stores.clear(target)).toBeUndefined();
  await expect
    .poll(async () => (await state.reportRank(aReport(), 600_000)).ok, { timeout: 30_000 })
    .toBe(true);
  server.pause();
  const cleared = stores.clear(target);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  server.resume();
  expect(await cleared).toBeUndefined();
  expect(valueOf(await state.listRanks())).toEqual([]);
});
