/**
 * Sparse attention as the autoscaler's knob, on ranks that serve: prompts are exact until the load is more than the ranks
 * hold, the long ones are thinned while more ranks start, and once it is gone they are exact again before those go. Links
 * between ranks are slow here: it is there that thinning pays for prompts which two cores compute in seconds.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import type { Forward } from "../quickstart/forward.ts";
import { demand, eventually } from "./eventually.ts";
import { complete, type Completion } from "./gateway.ts";
import { story } from "./prompts.ts";
import { applySample, CPU_RANK, removeSample, untilSize } from "./sample.ts";
import { slowLinks } from "./slowLinks.ts";
import { sparseCounters, type SparseCounters } from "./sparseCounters.ts";
import { get, healthy, MODEL, openGateway, world } from "./world.ts";

const MINUTE = 60_000;
const NAME = "pressed";
/** Of the group that is there all the time. */
const STAYING = `csps.io/group=${NAME}-prefill-0`;
const RANKS = `csps.io/deployment=${NAME},csps.io/role=prefill`;
/** How long two ranks took for LONG where the figures below were found, over links that were not slow. */
const USUAL_MS = 10_000;
/** A second. At half of it one rank alone is as fast as two, and is what a group takes; at twice, thinning hardly pays. */
const LINK_KILOBYTES = 6_000;
/**
 * Objectives that short prompts meet with ease, or ranks would be added for those that teach; and a long one nowhere, so that
 * both ranks of a group take it, whatever was learnt of its cost.
 */
const SHORT_TTFT_MS = 20_000;
const LONG_TTFT_MS = 2_000;
/** A single long prompt that waits for ranks is more than twice what a group holds, thinned or not. */
const QUEUE_DRAIN_SECONDS = 2;
const MIN_TOKENS = 512;
const FLOOR_PERCENT = 95;
const WINDOW_SECONDS = 10;
const STABILIZATION_SECONDS = 40;
/** Gateways read the degree table every five seconds, but for a time when Redis is slow to answer. */
const TABLE_READ_MS = 12_000;
/** Of some 1,500 tokens. */
const LONG = story(1_020);
const MOST_TURNS = 4;
const ONE = "1/1 groups, 1/1 ranks";

const shape = z.object({
  status: z.object({
    scale: z
      .object({ degrees: z.array(z.object({ name: z.string(), attention: z.string() })).default([]) })
      .default({ degrees: [] }),
    decisions: z
      .array(z.object({ subject: z.string(), choice: z.string(), changed: z.boolean().default(false) }))
      .default([]),
  }),
});

let door: Forward;
let fastLinks: () => Promise<void>;
/** How many times as long as usual this machine takes for a prompt: links, objectives and windows go by it. */
let slowness = 1;
/** Windows are no shorter on a fast machine: how often the autoscaler looks does not depend on it. */
const patient = (seconds: number): number => Math.ceil(seconds * Math.max(1, slowness));

type Status = z.infer<typeof shape>["status"];

async function statusNow(): Promise<Status> {
  return (await get(shape, "cspsdeployment", NAME, "-n", world.namespace)).status;
}

/** By class, as `short: dense, long: auto`. */
function tableOf({ scale }: Status): string {
  return scale.degrees.map(({ name, attention }) => `${name}: ${attention}`).join(", ");
}

/** Decisions on counts, newest first. */
function scalings({ decisions }: Status): Status["decisions"] {
  return decisions.filter(({ subject }) => subject === `scaling of ${NAME}`);
}

/** Those that changed something, as sentences. */
async function changes(): Promise<string[]> {
  return scalings(await statusNow())
    .filter(({ changed }) => changed)
    .map(({ choice }) => choice);
}

async function untilTable(wanted: string, deadlineMs: number): Promise<void> {
  await eventually(`the table to say ${wanted}`, deadlineMs, async () => {
    const status = await statusNow();
    const said = tableOf(status);
    demand(said === wanted, `${said}; ${scalings(status)[0]?.choice}`);
  });
  await sleep(TABLE_READ_MS);
}

/** No two are alike, so that none is known in the pool. */
async function askLong(name: string): Promise<Completion> {
  const request = { prompt: `${name}. ${LONG}`, maxTokens: 4 };
  const answer = await complete(door.url, MODEL, request, 8 * MINUTE);
  console.log(`   ${answer.promptTokens} tokens in ${Math.round(answer.firstTokenMs / 1000)} s`);
  return answer;
}

/** As two ranks of the quickstart's deployment show it; of two prompts the faster, as something may come between. */
async function measureSlowness(): Promise<number> {
  await healthy(8 * MINUTE);
  const quick = await openGateway();
  try {
    const times: number[] = [];
    for (const name of ["Once", "Again"]) {
      const request = { prompt: `${name}. ${LONG}`, maxTokens: 1 };
      times.push((await complete(quick.url, MODEL, request, 8 * MINUTE)).firstTokenMs);
    }
    return Math.min(...times) / USUAL_MS;
  } finally {
    quick.close();
  }
}

beforeAll(async () => {
  slowness = await measureSlowness();
  console.log(`   prompts take ${slowness.toFixed(2)} times as long as usual`);
  fastLinks = await slowLinks(Math.round(LINK_KILOBYTES / slowness));
  await applySample(NAME, {
    prefill: {
      ...{ groups: 1, sequenceParallel: { degree: 2 }, rank: CPU_RANK },
      sparseAttention: {
        ...{ mode: "UnderPressure", minTokens: MIN_TOKENS },
        ...{ budgetPercent: 60, qualityFloorPercent: FLOOR_PERCENT },
      },
    },
    decode: { ranks: 1, kvCacheMemory: "640Mi", rank: CPU_RANK },
    slo: {
      tbtMs: Math.round(2_000 * Math.max(1, slowness)),
      classes: [
        { name: "short", upToTokens: MIN_TOKENS - 1, ttftMs: Math.round(SHORT_TTFT_MS * slowness) },
        { name: "long", upToTokens: 8_192, ttftMs: Math.round(LONG_TTFT_MS * slowness) },
      ],
    },
    autoscaling: {
      ...{ mode: "Enforce", groups: { max: 2 } },
      ...{
        intervalSeconds: 2,
        windowSeconds: patient(WINDOW_SECONDS),
        stabilizationSeconds: patient(STABILIZATION_SECONDS),
        queueDrainSeconds: patient(QUEUE_DRAIN_SECONDS),
      },
    },
  });
  await untilSize(NAME, ONE, 8 * MINUTE);
  door = await openGateway(NAME);
}, 30 * MINUTE);

afterAll(async () => {
  await fastLinks();
  door.close();
  await removeSample(NAME);
}, 6 * MINUTE);

test(
  "long prompts are thinned before ranks are added, and exact again before those are given up",
  { timeout: 60 * MINUTE },
  async () => {
    const began = Date.now();
    const tell = (what: string): void => {
      console.log(`   ${what} after ${Math.round((Date.now() - began) / 1000)} s`);
    };
    // What the autoscaler learns the cost of a prompt from: of several lengths, each alone.
    for (const words of [160, 60, 320]) {
      await complete(door.url, MODEL, { prompt: `${words}: ${story(words)}`, maxTokens: 2 }, 4 * MINUTE);
      await sleep(patient(WINDOW_SECONDS) * 1000);
    }
    await untilSize(NAME, ONE, 8 * MINUTE);
    await untilTable("short: dense, long: dense", 8 * MINUTE);

    // More than one group holds: some wait, whether both ranks take one of them or each rank its own. They are exact, as they
    // came before the decision; from now on the table has both ranks take such a prompt.
    const first = Promise.all(["First", "Second", "Third", "Fourth"].map((name) => askLong(name)));
    // Looked at when it is awaited; until then a failure must not end the process.
    first.catch(() => undefined);
    await untilTable("short: dense, long: auto", 4 * MINUTE);
    tell("raised and told");
    const raised = (await changes()).find((choice) => choice.includes("ScaleUp: "));
    expect(raised).toBeDefined();
    expect(raised).toContain(`attention of prompts above ${MIN_TOKENS - 1} tokens is sparse`);
    await first;
    expect((await sparseCounters(STAYING)).prompts).toBe(0);
    // On ranks that have nothing else to do: a prompt that one rank takes alone is exact by nature. A gateway that has
    // not been told yet asks for an exact one.
    let thinned = await sparseCounters(RANKS);
    for (let turn = 1; turn <= MOST_TURNS && thinned.prompts === 0; turn += 1) {
      await askLong(`Turn ${turn}`);
      thinned = await sparseCounters(RANKS);
    }
    tell(`thinned (${said(thinned)})`);
    expect(thinned.prompts).toBe(1);
    expect(thinned.skippedBytes).toBeGreaterThan(thinned.fetchedBytes);
    expect(thinned.fetchedBytes).toBeGreaterThan(0);
    expect(thinned.leastMass).toBeGreaterThanOrEqual(FLOOR_PERCENT / 100);

    await untilTable("short: dense, long: dense", 10 * MINUTE);
    tell("lowered and told");
    await untilSize(NAME, ONE, 10 * MINUTE);
    tell("ranks given up");
    const shrunk = (await changes()).find((choice) => choice.includes("ScaleDown: "));
    expect(shrunk).toBeDefined();
    expect(shrunk).not.toContain("sparse");
    const before = await sparseCounters(STAYING);
    await askLong("Last");
    tell("exact");
    expect(await sparseCounters(STAYING)).toEqual(before);
  },
);

function said({ fetchedBytes, skippedBytes, leastMass }: SparseCounters): string {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  return `${megabytes(fetchedBytes)} fetched, ${megabytes(skippedBytes)} left out, ${leastMass.toFixed(3)} of the attention covered`;
}
