import { describe, expect, it } from "vitest";
import type { Autoscaler } from "./autoscalers/autoscaler.ts";
import { cheapestSchedule } from "./autoscalers/clairvoyant.ts";
import { fixedSize, scheduled } from "./autoscalers/fixed.ts";
import { plannedAutoscaler } from "./autoscalers/planned.ts";
import { EventQueue } from "./eventQueue.ts";
import { prepare } from "./scalingScenario.ts";
import { Fleet } from "./serving/fleet.ts";
import { objectivesOf, profileNamed } from "./setting.ts";
import { simulateScaled } from "./simulateScaled.ts";
import { fromStart, type TraceRequest } from "./traces/request.ts";
import { synthesize } from "./traces/synthetic.ts";

const cost = profileNamed("8b-h100");
const objectives = objectivesOf(20_000, 0.05);

function steady(rate: number, seconds: number, seed: number, fromSeconds = 0): readonly TraceRequest[] {
  const made = synthesize({
    requests: Math.round(rate * seconds),
    requestsPerSecond: rate,
    seed,
    maxInputTokens: 60_000,
  });
  return made.requests.map((one) => ({ ...one, arrivalSeconds: one.arrivalSeconds + fromSeconds }));
}

function playScaled(requests: readonly TraceRequest[], autoscaler?: Autoscaler) {
  const trace = { name: "made", synthetic: true, requests: fromStart(requests) };
  const prepared = prepare({ title: "made", trace, cost, objectives });
  const planned = plannedAutoscaler(cost, prepared.policy, prepared);
  return simulateScaled({ ...prepared, autoscaler: autoscaler ?? planned });
}

describe("the csps system under the operator's planner", () => {
  it("grows with a step of load, shrinks after it, and answers every request", () => {
    const report = playScaled([
      ...steady(2, 600, 1),
      ...steady(20, 600, 2, 600),
      ...steady(2, 1_200, 3, 1_200),
    ]);
    const groups = report.sizes.map(({ size }) => size.groups);
    const most = Math.max(...groups);
    expect(most).toBeGreaterThanOrEqual(2 * (groups[0] ?? Infinity));
    expect(groups.at(-1)).toBeLessThan(most);
    expect(report).toMatchObject({ stuck: 0, refused: 0 });
  });

  it("turns back at most once in half an hour of constant noisy load", () => {
    const report = playScaled(steady(8, 1_800, 4));
    expect(report.mostReversalsInHalfHour).toBeLessThanOrEqual(1);
    expect(report.attainment).toBeGreaterThan(0.95);
  });

  it("is paid for what it asked for and no more", () => {
    const size = { groups: 2, groupSize: 2, decodeRanks: 3 };
    const report = playScaled(steady(2, 300, 5), fixedSize("fixed", size));
    const { start } = prepare({
      title: "",
      trace: { name: "", synthetic: true, requests: steady(2, 300, 5) },
      cost,
      objectives,
    });
    const [before, after] = [start, size].map((one) => one.groups * one.groupSize + one.decodeRanks);
    const expected = (60 * (before ?? 0) + (report.virtualSeconds - 60) * (after ?? 0)) / 3600;
    expect(report.gpuHours).toBeCloseTo(expected, 6);
  });
});

describe("Fleet", () => {
  it("serves after the start-up, and gives up what is starting before what serves", () => {
    const events = new EventQueue();
    const seen: number[] = [];
    const fleet = new Fleet(events, {
      active: 2,
      startupSeconds: 60,
      changing: () => seen.push(-fleet.active),
      changed: () => seen.push(fleet.active),
    });
    events.at(0, () => {
      fleet.want(6);
    });
    events.at(30, () => {
      fleet.want(3);
      expect(fleet).toMatchObject({ active: 2, starting: 1, wanted: 3 });
    });
    events.at(100, () => {
      fleet.want(1);
    });
    events.run();
    expect(seen).toEqual([-2, 3, -3, 1]);
  });
});

describe("the clairvoyant schedule", () => {
  it("is the cheapest that keeps what is wanted, stretch by stretch", () => {
    const needed = [1, 3, 2, 1];
    const search = {
      start: { groups: 4, groupSize: 2, decodeRanks: 4 },
      least: { groups: 1, groupSize: 2, decodeRanks: 2 },
      seconds: 400,
      stretchSeconds: 100,
      wantedAttainment: 0.99,
      play: ({
        sizes,
      }: {
        readonly sizes: readonly { readonly groups: number; readonly decodeRanks: number }[];
      }) => ({
        attainment: sizes.every(({ groups }, index) => groups >= (needed[index] ?? 0)) ? 1 : 0,
        gpuHours: sizes.reduce((sum, { groups, decodeRanks }) => sum + 2 * groups + decodeRanks, 0),
      }),
    };
    const { sizes } = cheapestSchedule(search);
    expect(sizes.map(({ groups }) => groups)).toEqual(needed);
    expect(sizes.every(({ decodeRanks }) => decodeRanks === 2)).toBe(true);
  });

  it("has the ranks of a stretch ready when it begins, and keeps them until it ends", () => {
    const size = (groups: number) => ({ groups, groupSize: 2, decodeRanks: 1 });
    const schedule = { stretchSeconds: 300, sizes: [size(2), size(5), size(1)] };
    const { decide } = scheduled("plan", schedule, 60);
    const at = (nowSeconds: number) =>
      decide({
        nowSeconds,
        active: size(2),
        wanted: size(2),
        prefillBusyShare: 0,
        kvShare: 0,
        promptsInFlight: 0,
        demand: () => {
          throw new Error("who knows the future needs no metrics");
        },
        arrivedTokens: [],
      }).groups;
    expect([0, 210, 240, 300, 590, 610, 2_000].map(at)).toEqual([2, 2, 5, 5, 5, 1, 1]);
  });
});
