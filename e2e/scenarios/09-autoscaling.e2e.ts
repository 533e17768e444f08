/**
 * Acceptance of the autoscaler on ranks that serve: a load step adds a group and a rank, its end removes them without a
 * failed request; Advise only speaks; an HPA drives the same counts through /scale.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Forward } from "../quickstart/forward.ts";
import { demand, eventually } from "./eventually.ts";
import { complete } from "./gateway.ts";
import { metricAdapter } from "./metricAdapter.ts";
import { story } from "./prompts.ts";
import { applySample, CPU_RANK, removeSample, untilSize } from "./sample.ts";
import { conditionOf, deployment, kubectl, MODEL, openGateway, world } from "./world.ts";

const MINUTE = 60_000;
const NAME = "elastic";

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
      ...{ intervalSeconds: 2, windowSeconds: 10, stabilizationSeconds: 6, queueDrainSeconds: 5 },
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
  "a load step adds a group and a rank, its end removes them, and no request fails",
  { timeout: 30 * MINUTE },
  async () => {
    const clients = crowd(6);
    const began = Date.now();
    await untilSize(NAME, TWO, 12 * MINUTE);
    console.log(`   grown after ${Math.round((Date.now() - began) / 1000)} s`);
    clients.leave(1);
    const left = Date.now();
    await untilSize(NAME, ONE, 8 * MINUTE);
    console.log(`   shrunk after ${Math.round((Date.now() - left) / 1000)} s`);
    // What changed something stays, whatever was found since.
    expect(await decisions()).toContain("ScaleUp");
    expect(await decisions()).toContain("ScaleDown");
    const whole = await clients.gone();
    console.log(`   ${whole} requests, all whole`);
    expect(whole).toBeGreaterThan(6);
  },
);

test("advice changes nothing and says what it would do", { timeout: 12 * MINUTE }, async () => {
  await apply({ mode: "Advise" });
  const clients = crowd(6);
  await eventually("advice to grow", 5 * MINUTE, async () => {
    const said = conditionOf(await deployment(NAME), "AutoscalingActive");
    demand(said.message.startsWith("advice only: "), said.message);
    demand(said.reason === "ScaleUp" || said.reason === "SLOInfeasible", `${said.reason}: ${said.message}`);
  });
  // An engine that is busy may be silent for a moment; a rank more than there was would stay while they ask.
  await untilSize(NAME, ONE, MINUTE);
  await clients.gone();
});

test("an HPA drives the counts through /scale", { timeout: 30 * MINUTE }, async () => {
  await apply({ mode: "External" });
  await kubectl([
    "wait",
    "-n",
    world.namespace,
    "--for=create",
    `rolescaler/${NAME}-decode`,
    "--timeout=180s",
  ]);
  const gateway = `http://${NAME}-gateway.${world.namespace}.svc:8000/metrics`;
  const adapter = await metricAdapter({
    namespace: world.namespace,
    source: gateway,
    series: "csps_gateway_num_requests_running",
    scaler: `${NAME}-decode`,
  });
  for (const text of adapter) await kubectl(["apply", "--server-side", "-f", "-"], text);
  try {
    const clients = crowd(4);
    await untilSize(NAME, "1/1 groups, 2/2 ranks", 10 * MINUTE);
    await clients.gone();
    await untilSize(NAME, ONE, 10 * MINUTE);
  } finally {
    for (const text of adapter)
      await kubectl(["delete", "--ignore-not-found", "--wait=false", "-f", "-"], text);
  }
});
