/**
 * Acceptance of the autoscaler on ranks that serve: a load step adds a group and a rank, its end drains and removes them
 * without a failed request; Advise only speaks; HPAs drive the same counts through /scale; a request wakes what sleeps.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Forward } from "../quickstart/forward.ts";
import { demand, eventually } from "./eventually.ts";
import { complete } from "./gateway.ts";
import { metricAdapter } from "./metricAdapter.ts";
import { eventShape, isReady, listOf } from "./objects.ts";
import { story } from "./prompts.ts";
import { applySample, CPU_RANK, removeSample, untilSize } from "./sample.ts";
import {
  conditionOf,
  deployment,
  get,
  kubectl,
  logsUntilEnd,
  MODEL,
  openGateway,
  openPod,
  pods,
  world,
} from "./world.ts";

const MINUTE = 60_000;
const NAME = "elastic";
const GATEWAY_PORT = 8000;
const INTERVAL_MS = 2_000;

let door: Forward;

async function apply(autoscaling: object): Promise<void> {
  await applySample(NAME, {
    prefill: { groups: 1, rank: CPU_RANK },
    // Six requests of some 400 tokens fill it; a second rank is needed before they wait.
    decode: { ranks: 1, kvCacheMemory: "128Mi", rank: CPU_RANK },
    // No machine that runs this computes such a prompt in less.
    slo: { ttftMs: 500, tbtMs: 2_000 },
    autoscaling: {
      groups: { max: 2 },
      decodeRanks: { max: 2 },
      ...{
        intervalSeconds: INTERVAL_MS / 1000,
        windowSeconds: 10,
        stabilizationSeconds: 6,
        queueDrainSeconds: 5,
      },
      ...autoscaling,
    },
  });
}

const ONE = "1/1 groups, 1/1 ranks";
const TWO = "2/2 groups, 2/2 ranks";

interface Crowd {
  /** Clients that are told to leave finish their request first. */
  readonly leave: (staying: number) => void;
  /** Requests that ended whole; throws the first failure of any. */
  readonly gone: () => Promise<number>;
}

/** What the few that stay ask: a load that one rank of each kind holds, however slow it is. */
const LITTLE = story(30);
const BETWEEN_LITTLE_MS = 8_000;

/** Clients that ask again and again; once fewer than half are left, for little and now and then. */
function crowd(clients: number): Crowd {
  let wanted = clients;
  const isFew = (): boolean => wanted * 2 < clients;
  const each = Array.from({ length: clients }, async (_, index) => {
    let whole = 0;
    while (index < wanted) {
      const prompt = isFew() ? LITTLE : story(280 + index);
      await complete(door.url, MODEL, { prompt, maxTokens: 24 }, 6 * MINUTE);
      whole += 1;
      if (isFew()) await sleep(BETWEEN_LITTLE_MS);
    }
    return whole;
  });
  // Looked at in the end; until then a failure must not end the process.
  const all = Promise.allSettled(each);
  return {
    leave: (staying) => {
      wanted = staying;
    },
    gone: async () => {
      wanted = 0;
      const ends = await all;
      const failed = ends.find((end) => end.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      return ends.reduce((sum, end) => sum + (end.status === "fulfilled" ? end.value : 0), 0);
    },
  };
}

function decisions(): Promise<string> {
  const target = ["cspsdeployment", NAME, "-n", world.namespace];
  return kubectl(["get", ...target, "-o", "jsonpath={.status.decisions}"]);
}

/** Events of a gang that are no warnings, as `RankDrained: elastic-decode-1 goes: …`. */
async function toldOf(gang: string): Promise<string> {
  const { items } = await get(listOf(eventShape), "events", "-n", world.namespace);
  return items
    .filter((one) => one.involvedObject.name === gang && one.type === "Normal")
    .map((one) => `${one.reason}: ${one.message}`)
    .join("\n");
}

/** Uids of the pods of ranks. */
async function ranks(): Promise<string[]> {
  const found = await pods(`csps.io/deployment=${NAME},csps.io/role in (prefill,decode)`);
  return found.map((pod) => pod.metadata.uid).toSorted();
}

beforeAll(async () => {
  await apply({ mode: "Enforce" });
  await untilSize(NAME, ONE, 8 * MINUTE);
  door = await openGateway(NAME);
}, 12 * MINUTE);

afterAll(async () => {
  door.close();
  await removeSample(NAME);
}, 6 * MINUTE);

test(
  "a load step adds a group and a rank, its end drains them away, and no request fails",
  { timeout: 30 * MINUTE },
  async () => {
    const clients = crowd(6);
    const began = Date.now();
    await untilSize(NAME, TWO, 12 * MINUTE);
    console.log(`   grown after ${Math.round((Date.now() - began) / 1000)} s`);
    const surplus = logsUntilEnd(`${NAME}-prefill-1-0`, 12 * MINUTE);
    // Looked at below; until then a failure must not end the process.
    surplus.catch(() => undefined);
    clients.leave(1);
    const left = Date.now();
    await untilSize(NAME, ONE, 8 * MINUTE);
    console.log(`   shrunk after ${Math.round((Date.now() - left) / 1000)} s`);
    // What changed something stays, whatever was found since.
    expect(await decisions()).toContain("ScaleUp");
    expect(await decisions()).toContain("ScaleDown");
    // A decode rank hands over what it holds before its pod goes; a prefill rank ends what it computes, told by its pod's end.
    const told = await toldOf(`${NAME}-decode`);
    expect(told).toMatch(/^RankLeaves: \S+ hands over what it holds and leaves: ScaleIn$/m);
    expect(told).toMatch(/^RankDrained: \S+ goes: it has handed over everything$/m);
    expect(await surplus).toMatch(/draining[^]*drained/);
    const whole = await clients.gone();
    console.log(`   ${whole} requests, all whole`);
    expect(whole).toBeGreaterThan(6);
  },
);

test("advice changes nothing and says what it would do", { timeout: 12 * MINUTE }, async () => {
  const before = await eventually("those that left to be gone", 8 * MINUTE, async () => {
    const now = await ranks();
    demand(now.length === 2, `${now.length} ranks have pods`);
    return now;
  });
  await apply({ mode: "Advise" });
  const clients = crowd(6);
  await eventually("advice to grow", 5 * MINUTE, async () => {
    const said = conditionOf(await deployment(NAME), "AutoscalingActive");
    demand(said.message.startsWith("advice only: "), said.message);
    demand(said.reason === "ScaleUp" || said.reason === "SLOInfeasible", `${said.reason}: ${said.message}`);
  });
  // The next decision comes within an interval, and what it would change shows within another.
  for (const told = Date.now(); Date.now() - told < 3 * INTERVAL_MS;) {
    expect((await deployment(NAME)).status.scale).toBeUndefined();
    expect(await ranks()).toEqual(before);
    await sleep(INTERVAL_MS / 4);
  }
  // An engine that is busy may be silent for a moment; a rank more than there was would stay while they ask.
  await untilSize(NAME, ONE, MINUTE);
  await clients.gone();
});

test("HPAs drive both counts through /scale", { timeout: 30 * MINUTE }, async () => {
  await apply({ mode: "External" });
  const scalers = [`${NAME}-prefill`, `${NAME}-decode`];
  for (const scaler of scalers)
    await kubectl(["wait", "-n", world.namespace, "--for=create", `rolescaler/${scaler}`, "--timeout=180s"]);
  const adapter = await metricAdapter({
    namespace: world.namespace,
    source: `http://${NAME}-gateway.${world.namespace}.svc:${GATEWAY_PORT}/metrics`,
    series: "csps_gateway_num_requests_running",
    scalers,
  });
  for (const text of adapter) await kubectl(["apply", "--server-side", "-f", "-"], text);
  try {
    const clients = crowd(4);
    await untilSize(NAME, TWO, 10 * MINUTE);
    await clients.gone();
    await untilSize(NAME, ONE, 10 * MINUTE);
  } finally {
    for (const text of adapter)
      await kubectl(["delete", "--ignore-not-found", "--wait=false", "-f", "-"], text);
  }
});

/** The gateway's pod once no other is there any more. */
async function onlyGateway(): Promise<string> {
  return await eventually("one gateway", 8 * MINUTE, async () => {
    const [gateway, ...others] = await pods(`csps.io/deployment=${NAME},csps.io/role=gateway`);
    demand(gateway !== undefined && isReady(gateway) && others.length === 0, "there is another or none");
    return gateway.metadata.name;
  });
}

test("nobody asks and all ranks go; one request wakes them", { timeout: 30 * MINUTE }, async () => {
  await apply({ mode: "Enforce", scaleToZero: { enabled: true, idleSeconds: 3, wakeSeconds: 1_200 } });
  await eventually("no rank to be left", 8 * MINUTE, async () => {
    const { status, reason, message } = conditionOf(await deployment(NAME), "AutoscalingActive");
    demand(status === "True" && reason === "Asleep", `${reason}: ${message}`);
    demand((await ranks()).length === 0, "there are pods yet");
  });
  const gateway = await openPod(await onlyGateway(), GATEWAY_PORT);
  try {
    const { text, totalMs } = await complete(
      gateway.url,
      MODEL,
      { prompt: LITTLE, maxTokens: 8 },
      20 * MINUTE,
    );
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    const value = (series: string): number =>
      Number(new RegExp(`^csps_gateway_cold_start_seconds_${series} (\\S+)$`, "m").exec(metrics)?.[1]);
    console.log(
      `   the cold start took ${value("sum").toFixed(1)} s, and the answer ${(totalMs / 1000).toFixed(1)} s with it`,
    );
    expect(text).not.toBe("");
    expect(value("count")).toBe(1);
    expect(value("sum")).toBeLessThanOrEqual(totalMs / 1000);
  } finally {
    gateway.close();
  }
});
