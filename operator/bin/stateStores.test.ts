import { afterAll, beforeAll, expect, it } from "vitest";
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import { createRedisClusterState } from "../../runtime/state/redisClusterState.ts";
import { aReport, valueOf } from "../../runtime/state/testing/conformance.ts";
import { type RedisServer, startRedisServer } from "../../runtime/state/testing/redisServer.ts";
import { StateStores } from "./stateStores.ts";

const deployment = "ns/m";
const target = { deployment, deadlineMs: 90_000 };
let server: RedisServer;
let stores: StateStores;
let state: ClusterState;

beforeAll(async () => {
  server = await startRedisServer();
  stores = new StateStores(() => 1);
  state = createRedisClusterState({
    ...{ url: server.socket, deployment, now: Date.now, commandTimeoutMs: 30_000 },
  });
  // Connected from here on.
  expect(await stores.clear({ ...target, url: server.socket })).toBeUndefined();
});

afterAll(async () => {
  await stores.close();
  await state.close();
  await server.dispose();
});

/** Silent for longer than an answer is waited for. */
async function fallSilent(): Promise<void> {
  server.pause();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  server.resume();
}

it("takes no store for away that is silent for a while, within its deadline", async () => {
  const silence = fallSilent();
  expect(await stores.probe({ ...target, url: server.socket })).toBeUndefined();
  await silence;
});

it("clears a store that is silent for a while, within its deadline", async () => {
  await expect
    .poll(async () => (await state.reportRank(aReport(), 600_000)).ok, { timeout: 30_000 })
    .toBe(true);
  const silence = fallSilent();
  expect(await stores.clear({ ...target, url: server.socket })).toBeUndefined();
  await silence;
  expect(valueOf(await state.listRanks())).toEqual([]);
});
