import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { classOf, demandByClass } from "./demand.ts";
import { forecastRatio, kalmanForecast } from "./forecast.ts";
import { meanWaitSeconds, p90WaitSeconds } from "./queueing.ts";
import { seasonalPeak, seasonOf } from "./season.ts";
import { aPolicy } from "./testing/builders.ts";

const { classes } = aPolicy();

describe("demandByClass", () => {
  it("keeps tails and moments apart by length", () => {
    const short = Array.from({ length: 10 }, (_, index) => (index + 1) * 100);
    const demand = demandByClass(classes, {
      arrivedTokens: [...short, 50_000],
      queuedTokens: [60_000],
      windowSeconds: 10,
    });
    expect(demand[0]).toEqual({
      name: "short",
      arrivalsPerSecond: 1,
      queued: 0,
      p90Tokens: 900,
      meanTokens: 550,
      meanSquareTokens: 385_000,
    });
    expect(demand[1]).toMatchObject({ arrivalsPerSecond: 0.1, queued: 1, p90Tokens: 60_000 });
    expect(demand[2]).toMatchObject({ arrivalsPerSecond: 0, p90Tokens: 0 });
  });

  it("loses no prompt: beyond the longest class they count to it", () => {
    expect(classOf(classes, 10_000_000)).toBe("huge");
    const lengths = fc.array(fc.integer({ min: 1, max: 3_000_000 }), { maxLength: 50 });
    fc.assert(
      fc.property(lengths, (arrivedTokens) => {
        const demand = demandByClass(classes, { arrivedTokens, queuedTokens: [], windowSeconds: 1 });
        expect(demand.reduce((sum, one) => sum + one.arrivalsPerSecond, 0)).toBeCloseTo(
          arrivedTokens.length,
          9,
        );
      }),
    );
  });
});

describe("waiting", () => {
  it("is Pollaczek and Khinchine's for one server", () => {
    const constant = { ratePerSecond: 0.8, seconds: 1, squaredSeconds: 1 };
    expect(meanWaitSeconds([constant], 1)).toBeCloseTo(0.8 / (2 * 0.2), 12);
    const exponential = { ratePerSecond: 0.5, seconds: 1, squaredSeconds: 2 };
    expect(meanWaitSeconds([exponential], 1)).toBeCloseTo(1, 12);
  });

  it("grows with each rate, falls with servers, and has no end when work does not fit", () => {
    const kind = fc.record({
      ratePerSecond: fc.double({ min: 0, max: 1, noNaN: true }),
      seconds: fc.double({ min: 0.01, max: 3, noNaN: true }),
    });
    fc.assert(
      fc.property(
        fc.array(kind, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 20 }),
        (kinds, servers) => {
          const work = kinds.map((one) => ({ ...one, squaredSeconds: one.seconds ** 2 }));
          const wait = p90WaitSeconds(work, servers);
          const [first, ...rest] = work;
          if (first === undefined) return;
          const more = [{ ...first, ratePerSecond: first.ratePerSecond + 0.1 }, ...rest];
          expect(p90WaitSeconds(more, servers)).toBeGreaterThanOrEqual(wait);
          expect(p90WaitSeconds(work, servers + 1)).toBeLessThanOrEqual(wait);
        },
      ),
    );
    expect(meanWaitSeconds([{ ratePerSecond: 2, seconds: 1, squaredSeconds: 1 }], 2)).toBe(Infinity);
  });
});

describe("the forecast", () => {
  const noise = { observation: 1, level: 0.1, trend: 0.01 };
  it("expects what the same steps of the seasons before brought on average, and the most of those ahead", () => {
    const series = [1, 2, 3, 4, 3, 2, 5, 4];
    expect([1, 2, 3, 4, 5].map((ahead) => seasonalPeak(series, 4, ahead))).toEqual([2, 2, 4, 4, 4]);
    expect(seasonalPeak([9, 1, 1, 1, 9, 1, 1, 1, 9], 4, 3)).toBe(1);
    expect(seasonalPeak([9, 1, 1, 1, 9, 1, 1, 1, 9], 4, 4)).toBe(9);
    expect(seasonalPeak([1, 2], 4, 1)).toBe(0);
  });

  it("finds a season once it was seen twice, and none in a drift or in noise", () => {
    const bursts = (steps: number) =>
      Array.from({ length: steps }, (_, step) => (step % 10 === 9 ? 50 : 5) + (step % 3));
    expect(seasonOf(bursts(40))).toBe(10);
    expect(seasonOf(bursts(15))).toBeUndefined();
    expect(seasonOf(Array.from({ length: 60 }, (_, step) => 5 + step))).toBeUndefined();
    for (let seed = 0; seed < 20; seed++) {
      let state = seed;
      const noise = Array.from({ length: 60 }, () => {
        state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
        return state;
      });
      expect(seasonOf(noise)).toBeUndefined();
    }
  });

  it("follows a ramp and stays on a level", () => {
    const ramp = Array.from({ length: 60 }, (_, index) => 5 + 0.5 * index);
    expect(kalmanForecast(ramp, 4, noise)?.value).toBeCloseTo(5 + 0.5 * 63, 0);
    const level = Array.from({ length: 30 }, () => 7);
    expect(kalmanForecast(level, 10, noise)?.value).toBeCloseTo(7, 6);
    expect(kalmanForecast([], 1, noise)).toBeUndefined();
    expect(kalmanForecast([10, 5, 0], 100, noise)?.value).toBe(0);
  });

  it("is less certain of what is further ahead, and more certain the longer it has looked", () => {
    const errorOf = (looks: number, ahead: number) =>
      kalmanForecast(
        Array.from({ length: looks }, () => 7),
        ahead,
        noise,
      )?.error ?? Number.NaN;
    expect(errorOf(30, 8)).toBeGreaterThan(errorOf(30, 1));
    expect(errorOf(3, 4)).toBeGreaterThan(errorOf(30, 4));
  });

  it("is a floor only: never less than the present, never more than its cap", () => {
    expect(forecastRatio(10, [5, undefined], 4)).toBe(1);
    expect(forecastRatio(10, [15, 12], 4)).toBe(1.5);
    expect(forecastRatio(10, [1_000, Number.NaN], 4)).toBe(4);
    expect(forecastRatio(0, [5], 4)).toBe(1);
  });
});
