import { describe, expect, it } from "vitest";
import { EventQueue } from "../eventQueue.ts";
import type { Job } from "./job.ts";
import { PrefillPool } from "./prefillPool.ts";

const promptSeconds = 1;

/** One rank; prompts of one second that arrive so many seconds apart, with an objective each: when each was done. */
function play(jobs: readonly { readonly at: number; readonly ttft: number }[], standBack: boolean): number[] {
  const events = new EventQueue();
  const doneSeconds: number[] = [];
  const pool = new PrefillPool(events, [1], {
    degreeOf: (_job, { free }) => (free > 0 ? 1 : undefined),
    secondsOf: () => promptSeconds,
    admit: () => true,
    done: ({ index }) => (doneSeconds[index] = events.now),
    ...(standBack && { fastestSeconds: () => promptSeconds }),
  });
  jobs.forEach(({ at, ttft }, index) => {
    const request = { arrivalSeconds: at, inputTokens: 1, outputTokens: 1 };
    const job: Job = { index, request, ttftSeconds: ttft };
    events.at(at, () => {
      pool.add(job);
    });
  });
  events.run();
  return doneSeconds;
}

describe("a queue in which late prompts stand back", () => {
  const burst = Array.from({ length: 10 }, () => ({ at: 0, ttft: 2 }));
  const after = Array.from({ length: 10 }, (_, index) => ({ at: 1.5 + index, ttft: 2 }));

  it("keeps more prompts in time through an overload", () => {
    const inTime = (standBack: boolean) =>
      play([...burst, ...after], standBack).filter((done, index) => {
        const { at, ttft } = [...burst, ...after][index] ?? { at: 0, ttft: 0 };
        return done - at <= ttft;
      }).length;
    expect(inTime(true)).toBeGreaterThan(3 * inTime(false));
  });

  it("serves a late one after four objectives, whoever is in time", () => {
    const done = play([...burst.slice(0, 3), ...after], true);
    const third = done[2] ?? Infinity;
    expect(third).toBeGreaterThanOrEqual(4 * 2);
    expect(third).toBeLessThanOrEqual(4 * 2 + 2 * promptSeconds);
  });

  it("is in order of arrival while nobody is late", () => {
    const easy = burst.map(({ at }) => ({ at, ttft: 100 }));
    expect(play(easy, true)).toEqual(play(easy, false));
  });
});
