import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { ClusterState } from "../../state/clusterState.ts";
import { createRedisClusterState } from "../../state/redisClusterState.ts";
import { valueOf } from "../../state/testing/conformance.ts";
import { type RedisServer, startRedisServer } from "../../state/testing/redisServer.ts";
import { createPrefixMemory } from "./prefixMemory.ts";
import { sharePrefixes, type SharedPrefixes } from "./sharedPrefixes.ts";

let server: RedisServer;
let state: ClusterState;

const aGateway = (): SharedPrefixes => sharePrefixes(createPrefixMemory(), state);
const keysOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `key-${index}`);

beforeAll(async () => {
  server = await startRedisServer();
  const settings = { url: server.socket, deployment: "ns/d", now: Date.now, commandTimeoutMs: 5_000 };
  state = createRedisClusterState(settings);
});

beforeEach(async () => {
  await vi.waitFor(async () => valueOf(await state.clear(1)), 30_000);
});

afterAll(async () => {
  await state.close();
  await server.dispose();
});

describe("gateways that share what they know of prefixes", () => {
  it("know of prompts that another one sent, also one that has just started", async () => {
    const [one, other] = [aGateway(), aGateway()];
    one.note("pool-a", ["k1", "k2"]);
    expect(one.share("pool-a", ["k1", "k2"])).toBe(1);
    expect(other.share("pool-a", ["k1"])).toBe(0);
    await one.exchange();
    await other.exchange();
    expect(other.share("pool-a", ["k1", "k2", "k3"])).toBeCloseTo(2 / 3);
    other.note("pool-b", ["k3"]);
    await other.exchange();
    const late = aGateway();
    for (const each of [one, late]) {
      await each.exchange();
      expect(each.share("pool-b", ["k3"])).toBe(1);
    }
  });

  it("learn of more than fits one page, and of what comes after it", async () => {
    const keys = keysOf(12_000);
    const [one, other] = [aGateway(), aGateway()];
    one.note("pool", keys);
    await one.exchange();
    await other.exchange();
    expect(other.share("pool", keys)).toBe(1);
    one.note("pool", ["later"]);
    await one.exchange();
    await other.exchange();
    expect(other.share("pool", ["later"])).toBe(1);
  });

  it("tell a Redis that has lost everything again what they know, also when another one tells first", async () => {
    const [one, other] = [aGateway(), aGateway()];
    one.note("pool", ["k1"]);
    other.note("other", ["k2"]);
    for (const each of [one, other]) await each.exchange();
    for (let wiped = 0; wiped < 2; wiped += 1) {
      valueOf(await state.clear(1));
      other.note("other", ["k3"]);
      // What is lost is seen by one exchange and told by the next.
      for (const each of [other, one, other, one]) await each.exchange();
      const late = aGateway();
      await late.exchange();
      expect(late.share("pool", ["k1"])).toBe(1);
      expect(late.share("other", ["k2", "k3"])).toBe(1);
    }
  });

  it("are told, once Redis is back, of what another one sent while it was away", async () => {
    const [one, other] = [aGateway(), aGateway()];
    const keys = keysOf(2_500);
    one.note("pool", keys);
    await server.stop();
    await one.exchange();
    await server.start();
    await vi.waitFor(async () => valueOf(await state.checkFence(0)), 30_000);
    await one.exchange();
    await other.exchange();
    expect(other.share("pool", keys)).toBe(1);
  });

  it("need no Redis at all", async () => {
    const alone = sharePrefixes(createPrefixMemory(), undefined);
    alone.note("pool", ["k"]);
    await alone.exchange();
    expect(alone.share("pool", ["k"])).toBe(1);
  });
});
