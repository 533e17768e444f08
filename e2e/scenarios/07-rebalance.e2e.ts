/**
 * Acceptance of the rebalancer on ranks that serve: twelve streams whose pages all lie on one of three ranks are
 * evened out while they run. Throughput is compared with the same streams before them, at the same tokens, whose pages
 * lay where the pool had put them and were not moved; and with what it was before the moves and after.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Forward } from "../quickstart/forward.ts";
import { demand, eventually } from "./eventually.ts";
import { complete, type Completion } from "./gateway.ts";
import { gather, openPool, operatorsMoves, type PoolAccess } from "./pool.ts";
import {
  percentile,
  type PoolRecord,
  rateOver,
  recordPool,
  type Sample,
  tokensPerSecond,
} from "./poolRecord.ts";
import { applySample, CPU_RANK, removeSample, untilSize } from "./sample.ts";
import { kubectl, MODEL, openGateway, world } from "./world.ts";

const MINUTE = 60_000;
const NAME = "even";
const STREAMS = 12;
/** Of each stream; on a fast machine more, so that streams outlast what takes its time on any. */
const LEAST_TOKENS = 144;
/** Of them all fits one rank. */
const MOST_TOKENS = 480;
/** That long streams are decoded at least; twice what gathering, looking and moving take. */
const LASTING_MS = 72_000;
/** Tokens of each stream that a window before and after the moves lasts: steps enough that one more or less is little. */
const WINDOW_TOKENS = 16;

let door: Forward;
let pool: PoolAccess;

beforeAll(async () => {
  await applySample(NAME, {
    prefill: { groups: 1, rank: CPU_RANK },
    // One rank holds all that twelve streams need.
    decode: { ranks: 3, kvCacheMemory: "512Mi", rank: CPU_RANK, rebalance: { mode: "Disabled" } },
  });
  await untilSize(NAME, "1/1 groups, 3/3 ranks", 12 * MINUTE);
  door = await openGateway(NAME);
  pool = await openPool(NAME);
}, 15 * MINUTE);

afterAll(async () => {
  door.close();
  await pool.close();
  await removeSample(NAME);
}, 6 * MINUTE);

async function balancing(mode: "Enabled" | "Disabled"): Promise<void> {
  const patch = JSON.stringify({ spec: { decode: { rebalance: { mode } } } });
  await kubectl(["patch", "cspsdeployment", NAME, "-n", world.namespace, "--type=merge", "-p", patch]);
}

/** What the model goes on with for as long as it may. */
function counting(from: number): string {
  return `${Array.from({ length: 30 }, (_, index) => from + index).join(", ")},`;
}

function streams(maxTokens: number): Promise<Completion[]> {
  const prompts = Array.from({ length: STREAMS }, (_, index) => counting(100 * (index + 1)));
  const all = Promise.all(
    prompts.map((prompt) => complete(door.url, MODEL, { prompt, maxTokens }, 20 * MINUTE)),
  );
  // Looked at when it is awaited; until then a failure must not end the process.
  all.catch(() => undefined);
  return all;
}

async function untilDecoding(): Promise<void> {
  await eventually("all streams to be decoded", 12 * MINUTE, async () => {
    const { requests } = await pool.inventory();
    demand(requests.filter((one) => one.decoding && one.settled).length === STREAMS, `${requests.length}`);
  });
}

interface Unmoved {
  readonly tokens: number;
  readonly completions: readonly Completion[];
  readonly samples: readonly Sample[];
}

/** The streams where nothing is moved, with as many tokens as last long enough on this machine. */
async function unmovedStreams(tokens = LEAST_TOKENS): Promise<Unmoved> {
  const running = streams(tokens);
  await untilDecoding();
  const record = recordPool(pool);
  const completions = await running;
  await record.stop();
  const samples = record.samples.filter((one) => one.requests === STREAMS);
  const tokenMs = (1000 * STREAMS) / tokensPerSecond(samples);
  const lasting = Math.min(MOST_TOKENS, Math.ceil(LASTING_MS / tokenMs));
  return lasting > tokens && tokens === LEAST_TOKENS
    ? await unmovedStreams(lasting)
    : { tokens, completions, samples };
}

/** Waits until every stream has gone on by so many tokens; returns the samples of that time. */
async function window(record: PoolRecord, tokens: number): Promise<readonly Sample[]> {
  const began = record.samples.length;
  return await eventually(
    `${tokens} tokens of each stream`,
    8 * MINUTE,
    () => {
      const seen = record.samples.slice(began);
      const told = (seen.at(0)?.remaining ?? 0) - (seen.at(-1)?.remaining ?? 0);
      demand(told >= tokens * STREAMS, `${told} tokens so far`);
      return Promise.resolve(seen);
    },
    100,
  );
}

/** From the moment that the rebalancer may move until it has evened the pool out and moves no more. */
async function untilEven(record: PoolRecord, uneven: number): Promise<readonly Sample[]> {
  const began = record.samples.length;
  await eventually(
    "the pool to be even",
    8 * MINUTE,
    () => {
      const last = record.samples.slice(Math.max(began, record.samples.length - 5));
      const still = last.length === 5 && last.every((one) => one.copying === 0 && one.requests === STREAMS);
      const now = last.at(-1)?.imbalance ?? uneven;
      demand(still && now < 0.4 * uneven, `the imbalance is ${now.toFixed(2)}`);
      return Promise.resolve();
    },
    100,
  );
  return record.samples.slice(began);
}

const worst = (samples: readonly Sample[]): number =>
  percentile(
    samples.map((one) => one.imbalance),
    95,
  );

test(
  "twelve streams on one rank of three are evened out while they run, and none notices",
  { timeout: 75 * MINUTE },
  async () => {
    const { tokens, completions: undisturbed, samples: unmoved } = await unmovedStreams();
    expect(undisturbed.map((one) => one.finishReason)).toEqual(undisturbed.map(() => "length"));
    const running = streams(tokens);
    await untilDecoding();
    await gather(pool, `${NAME}-decode-0`, 8 * MINUTE);
    const record = recordPool(pool);
    const before = await window(record, WINDOW_TOKENS);
    await balancing("Enabled");
    const during = await untilEven(record, worst(before));
    const after = await window(record, WINDOW_TOKENS);
    await record.stop();
    const left = (record.samples.at(-1)?.remaining ?? 0) / STREAMS;
    const moves = operatorsMoves(await pool.inventory());
    const moved = await running;

    const rates = [before, during, after].map(tokensPerSecond);
    const unmovedRate = rateOver(unmoved, during);
    const stepMs = percentile(
      during.map((one) => one.stepMs),
      50,
    );
    const stalls = moves.map((move) => move.stallMs);
    const mebibytes = moves.reduce((sum, move) => sum + move.totalBytes, 0) / 2 ** 20;
    console.log(
      `   P95 imbalance ${worst(before).toFixed(2)} before, ${worst(after).toFixed(2)} after; ` +
        `${moves.length} moves of ${mebibytes.toFixed(0)} MiB, over with ${left.toFixed(0)} of ${tokens} tokens of each stream left\n` +
        `   tokens/s ${rates.map((rate) => rate.toFixed(1)).join(", ")} before, during and after the moves: ` +
        `${((100 * (rates[1] ?? 0)) / unmovedRate).toFixed(0)} % of the ${unmovedRate.toFixed(1)} ` +
        `of the same tokens without moves\n` +
        `   stall per move p50 ${percentile(stalls, 50).toFixed(1)} ms, p99 ${percentile(stalls, 99).toFixed(1)} ms; ` +
        `a step takes ${stepMs.toFixed(0)} ms; longest pause ${Math.max(...moved.map((one) => one.longestPauseMs))} ms, ` +
        `${Math.max(...undisturbed.map((one) => one.longestPauseMs))} ms without moves`,
    );
    expect(moves.length).toBeGreaterThan(0);
    expect(worst(after)).toBeLessThanOrEqual(0.4 * worst(before));
    expect(percentile(stalls, 99)).toBeLessThanOrEqual(stepMs);
    expect(unmovedRate).toBeGreaterThan(0);
    expect(rates[1]).toBeGreaterThanOrEqual(0.95 * unmovedRate);
    expect(moved.map((one) => one.text)).toEqual(undisturbed.map((one) => one.text));
    expect(moved.map((one) => one.recoveries)).toEqual(moved.map(() => 0));
  },
);
