import { describe, expect, it } from "vitest";
import { h100Nodes } from "../planning/cost/gpus.ts";
import { llama8b } from "../planning/cost/modelShape.ts";
import { deriveProfile, prefillSeconds } from "../planning/cost/profile.ts";
import { meanWaitSeconds } from "../planning/scaling/queueing.ts";
import { EventQueue } from "./eventQueue.ts";
import { Outcomes } from "./serving/job.ts";
import { MixedReplicas } from "./serving/mixed.ts";
import { PrefillPool } from "./serving/prefillPool.ts";
import { StepBatch } from "./serving/stepBatch.ts";
import { servingPolicies } from "./serving/system.ts";
import { play, simulate, type Run } from "./simulate.ts";
import { synthesize } from "./traces/synthetic.ts";

const cost = deriveProfile(llama8b, h100Nodes, 1);
const objectives = { ttftSeconds: (tokens: number) => 1 + tokens / 20_000, tbtSeconds: 0.05 };

function aRun(over: Partial<Run> = {}, shape: Partial<Run["shape"]> = {}): Run {
  return {
    trace: synthesize({ requests: 400 }),
    policy: "csps",
    shape: { cost, ranks: 16, prefillRanks: 8, groupSize: 8, chunkTokens: 2048, tbtSeconds: 0.05, ...shape },
    objectives,
    ...over,
  };
}

/** Mean wait of Poisson arrivals of constant service at servers of one rank. */
function waitAt(
  servers: number,
  load: number,
): { readonly simulated: number; readonly tokens: number; readonly rate: number } {
  const tokens = 16_384;
  const rate = (load * servers) / prefillSeconds(cost, tokens, 1);
  const constant = { medianInputTokens: tokens, inputSigma: 0, medianOutputTokens: 1, outputSigma: 0 };
  const trace = synthesize({ ...constant, requests: 200_000, requestsPerSecond: rate });
  const shape = {
    cost,
    ranks: servers + 1,
    prefillRanks: servers,
    groupSize: 1,
    chunkTokens: 2048,
    tbtSeconds: 0.05,
  };
  const { outcomes } = play({ trace, policy: "static-sp", shape, objectives });
  const waits = trace.requests.map(
    (request, index) =>
      (outcomes.firstSeconds[index] ?? Number.NaN) - request.arrivalSeconds - prefillSeconds(cost, tokens, 1),
  );
  return { simulated: waits.reduce((sum, one) => sum + one, 0) / waits.length, tokens, rate };
}

describe("the simulated queue", () => {
  it.each([0.3, 0.6, 0.8])("waits as M/D/1 does at load %d", (load) => {
    const { simulated, tokens } = waitAt(1, load);
    const service = prefillSeconds(cost, tokens, 1);
    expect(simulated / ((load * service) / (2 * (1 - load)))).toBeGreaterThan(0.95);
    expect(simulated / ((load * service) / (2 * (1 - load)))).toBeLessThan(1.05);
  });

  it("waits with four servers about as planning expects", () => {
    const { simulated, tokens, rate } = waitAt(4, 0.8);
    const seconds = prefillSeconds(cost, tokens, 1);
    const planned = meanWaitSeconds([{ ratePerSecond: rate, seconds, squaredSeconds: seconds ** 2 }], 4);
    expect(simulated / planned).toBeGreaterThan(0.85);
    expect(simulated / planned).toBeLessThan(1.15);
  });
});

describe("StepBatch", () => {
  it("takes the time of single steps, summed, while members come and go", () => {
    const stepSeconds = ({ requests, contextTokens }: { requests: number; contextTokens: number }) =>
      0.01 + 0.001 * requests + 1e-6 * contextTokens;
    const events = new EventQueue();
    const batch = new StepBatch(events, stepSeconds);
    const ends: number[] = [];
    batch.join(100, 1_000, () => ends.push(events.now));
    batch.join(250, 5_000, () => ends.push(events.now));
    events.run();
    let [time, context] = [0, 6_000];
    const expected: number[] = [];
    for (let step = 0; step < 250; step++) {
      const requests = step < 100 ? 2 : 1;
      time += stepSeconds({ requests, contextTokens: context });
      context += requests;
      if (step === 99) {
        expected.push(time);
        context -= 1_100;
      }
    }
    expected.push(time);
    // The line runs through the steps' starts, half a token a request from their middle.
    ends.forEach((end, index) => {
      expect(end).toBeCloseTo(expected[index] ?? Number.NaN, 3);
    });
    expect(batch.contextTokens).toBe(0);
  });

  it("gives a member that joins between two changes the steps that are left", () => {
    const events = new EventQueue();
    const batch = new StepBatch(events, ({ requests }) => 0.01 * requests);
    const ends: number[] = [];
    batch.join(100, 10, () => ends.push(events.now));
    events.at(0.5, () => {
      batch.join(10, 10, () => ends.push(events.now));
    });
    events.run();
    expect(ends[0]).toBeCloseTo(0.5 + 10 * 0.02, 6);
    expect(ends[1]).toBeCloseTo(0.7 + 40 * 0.01, 6);
  });

  it("carries a chunk in one step and goes on as before", () => {
    const events = new EventQueue();
    const batch = new StepBatch(events, ({ chunk }) => (chunk === undefined ? 0.01 : 0.05));
    let mixed = 0;
    let ended = 0;
    batch.join(20, 10, () => (ended = events.now));
    batch.mix({ tokens: 512, squaredTokens: 512 ** 2 }, () => (mixed = events.now));
    expect(() => {
      batch.mix({ tokens: 1, squaredTokens: 1 }, () => undefined);
    }).toThrow("one chunk");
    events.run();
    expect(mixed).toBeCloseTo(0.05, 6);
    expect(ended).toBeCloseTo(0.05 + 19 * 0.01, 6);
  });
});

describe("MixedReplicas", () => {
  it("fills a step's budget with several prompts, the last in part, and admits no more than may be under way", () => {
    const events = new EventQueue();
    const outcomes = new Outcomes(4);
    const replicas = new MixedReplicas(events, outcomes, {
      cost,
      replicas: 1,
      stepTokens: 2_048,
      room: 1e6,
      most: 3,
    });
    [1_000, 1_000, 1_000, 1_000].forEach((inputTokens, index) => {
      const request = { arrivalSeconds: 0, inputTokens, outputTokens: 50 };
      replicas.add({ index, request, ttftSeconds: 1 });
    });
    events.run();
    const [first = 0, second = 0, third = 0, fourth = 0] = outcomes.firstSeconds;
    expect(first).toBeLessThan(second);
    expect(second).toBe(third);
    // The first comes alone, as it came to an idle replica; the fourth waits for a place.
    expect(fourth).toBeGreaterThan(outcomes.lastSeconds[0] ?? Infinity);
  });
});

describe("PrefillPool", () => {
  it("lets short prompts pass one that waits for a whole group, until it has waited twice its objective", () => {
    const events = new EventQueue();
    const order: number[] = [];
    const pool = new PrefillPool(events, [4], {
      degreeOf: (job) => (job.request.inputTokens > 1_000 ? 4 : 1),
      secondsOf: () => 1,
      admit: () => true,
      done: (job) => order.push(job.index),
    });
    const add = (index: number, inputTokens: number, arrivalSeconds: number): void => {
      events.at(arrivalSeconds, () => {
        pool.add({ index, request: { arrivalSeconds, inputTokens, outputTokens: 1 }, ttftSeconds: 0.5 });
      });
    };
    add(0, 10, 0);
    add(1, 9_000, 0.1);
    for (let index = 2; index < 12; index++) add(index, 10, index * 0.3);
    events.run();
    expect(order.slice(0, 2)).toEqual([0, 2]);
    expect(order.indexOf(1)).toBeLessThan(7);
    expect(order).toHaveLength(12);
  });
});

describe("simulate", () => {
  it.each(servingPolicies)("answers every request once and in order of its tokens: %s", (policy) => {
    const run = aRun({ policy });
    const { outcomes } = play(run);
    run.trace.requests.forEach((request, index) => {
      const first = outcomes.firstSeconds[index] ?? Number.NaN;
      expect(first).toBeGreaterThan(request.arrivalSeconds);
      expect(outcomes.lastSeconds[index]).toBeGreaterThanOrEqual(first);
    });
    expect(simulate(run)).toMatchObject({ requests: 400, refused: 0, stuck: 0, synthetic: true });
  });

  it.each(servingPolicies)("gives the same report twice: %s", (policy) => {
    expect(simulate(aRun({ policy }))).toEqual(simulate(aRun({ policy })));
  });

  it("equals the cost model for a request that is alone", () => {
    const trace = {
      name: "one",
      synthetic: true,
      requests: [{ arrivalSeconds: 0, inputTokens: 50_000, outputTokens: 1 }],
    };
    const { outcomes } = play(aRun({ trace, policy: "static-sp" }));
    expect(outcomes.firstSeconds[0]).toBe(prefillSeconds(cost, 50_000, 8));
  });

  it("refuses a prompt that fits no group, and answers the ones behind it", () => {
    const requests = [2_000_000, 1_000].map((inputTokens) => ({
      arrivalSeconds: 0,
      inputTokens,
      outputTokens: 3,
    }));
    const trace = { name: "two", synthetic: true, requests };
    const shape = { prefillRanks: 1, groupSize: 1, ranks: 16 };
    expect(simulate(aRun({ trace, policy: "fixed-split" }, shape))).toMatchObject({ refused: 1, stuck: 0 });
  });

  it("refuses a request that no part of the system could hold", () => {
    const trace = {
      name: "one",
      synthetic: true,
      requests: [{ arrivalSeconds: 0, inputTokens: 900_000, outputTokens: 1 }],
    };
    expect(simulate(aRun({ trace, policy: "chunked" }))).toMatchObject({ refused: 1, stuck: 0 });
    expect(new Outcomes(1).firstSeconds[0]).toBeNaN();
  });
});
