import { describe, expect, it } from "vitest";
import { EventQueue } from "../eventQueue.ts";
import type { Job } from "./job.ts";
import { RoutedGroups } from "./routedGroups.ts";

const tokensPerSecond = 1_000;

/** Groups of one rank; when each prompt was done, by its index. */
function groupsOf(count: number) {
  const events = new EventQueue();
  const doneSeconds = new Map<number, number>();
  const groups = new RoutedGroups(events, {
    groups: count,
    groupSize: 1,
    wantedDegree: () => 1,
    decodePool: () => ({ pagesTotal: 1_000, pagesFree: 1_000, running: 0 }),
    degreeOf: (_job, { free }) => (free > 0 ? 1 : undefined),
    secondsOf: ({ request }) => request.inputTokens / tokensPerSecond,
    admit: () => true,
    done: ({ index }) => doneSeconds.set(index, events.now),
  });
  const arrive = (index: number, atSeconds: number, inputTokens: number): void => {
    const request = { arrivalSeconds: atSeconds, inputTokens, outputTokens: 1 };
    const job: Job = { index, request, ttftSeconds: 10 };
    events.at(atSeconds, () => {
      groups.add(job);
    });
  };
  return { events, groups, arrive, doneSeconds };
}

describe("groups that a gateway routes to", () => {
  it("send short prompts past the group that a long one holds, by tokens and not by number", () => {
    const { events, arrive, doneSeconds } = groupsOf(2);
    arrive(0, 0, 100_000);
    for (let index = 1; index <= 5; index++) arrive(index, 0.1, 1_000);
    events.run();
    expect(doneSeconds.get(0)).toBeCloseTo(100);
    expect(doneSeconds.get(5)).toBeCloseTo(5.1);
  });

  it("leave a prompt where it was sent, though another group opens", () => {
    const { events, groups, arrive, doneSeconds } = groupsOf(1);
    arrive(0, 0, 50_000);
    arrive(1, 1, 50_000);
    arrive(2, 3, 50_000);
    events.at(2, () => {
      groups.resize(2);
    });
    events.run();
    expect(doneSeconds.get(1)).toBeCloseTo(100);
    expect(doneSeconds.get(2)).toBeCloseTo(53);
  });

  it("finish what a closed one was given, and count its ranks until then", () => {
    const { events, groups, arrive, doneSeconds } = groupsOf(2);
    arrive(0, 0, 10_000);
    arrive(1, 0, 20_000);
    const kept: number[] = [];
    events.at(1, () => {
      groups.resize(1);
      kept.push(groups.ranks);
    });
    arrive(2, 2, 1_000);
    events.at(15, () => {
      kept.push(groups.ranks);
    });
    events.run();
    expect(kept).toEqual([2, 1]);
    expect(doneSeconds.size).toBe(3);
    // To the one that is open, behind what it has.
    expect(doneSeconds.get(2)).toBeGreaterThan(10);
    expect(groups.busyRankSeconds).toBeCloseTo(31);
  });
});
