import { describe, expect, it } from "vitest";
import type { LengthClass } from "../scaling/decision.ts";
import { demandOf, isIdle } from "./demand.ts";
import { foresee, lookedAt, noOutlook, type Outlook, stretchMs } from "./outlook.ts";
import { utilisation } from "./policy.ts";
import { quantileOf } from "./reading.ts";
import { aReading, type ReadingShape } from "./testing/readings.ts";

const classes: readonly LengthClass[] = [{ name: "all", upToTokens: 8_192, ttftSeconds: 2 }];

function demand(byPod: readonly (readonly ReadingShape[])[], gateways = byPod.length) {
  const readings = byPod.map((shapes) => shapes.map(aReading));
  return demandOf({ classes, byPod: readings, gateways, liveContextTokens: 900 });
}

describe("demand from counters", () => {
  const cases: readonly {
    readonly what: string;
    readonly byPod: readonly (readonly ReadingShape[])[];
    readonly gateways?: number;
    readonly rate: number;
    readonly queued?: number;
  }[] = [
    {
      what: "one pod that grows",
      byPod: [
        [
          { atSeconds: 0, arrived: 100 },
          { atSeconds: 10, arrived: 120 },
        ],
      ],
      rate: 2,
    },
    {
      what: "a pod whose process began anew: what it shows since counts, the fall does not",
      byPod: [
        [
          { atSeconds: 0, arrived: 100 },
          { atSeconds: 10, arrived: 120 },
          { atSeconds: 20, arrived: 6 },
        ],
      ],
      rate: 26 / 20,
    },
    {
      what: "two pods, one of them new: each over its own time",
      byPod: [
        [
          { atSeconds: 0, arrived: 0 },
          { atSeconds: 20, arrived: 40 },
        ],
        [
          { pod: "g2", atSeconds: 10, arrived: 0 },
          { pod: "g2", atSeconds: 20, arrived: 10, waiting: 3 },
        ],
      ],
      rate: 3,
      queued: 3,
    },
    {
      what: "a pod that can't be read: it is taken to see what the other sees",
      byPod: [
        [
          { atSeconds: 0, arrived: 0 },
          { atSeconds: 10, arrived: 20, waiting: 2 },
        ],
      ],
      gateways: 2,
      rate: 4,
      queued: 4,
    },
    {
      what: "nobody",
      byPod: [
        [
          { atSeconds: 0, arrived: 7 },
          { atSeconds: 10, arrived: 7 },
        ],
      ],
      rate: 0,
    },
  ];

  it.each(cases)("is right for $what", ({ byPod, gateways, rate, queued = 0 }) => {
    const found = demand(byPod, gateways);
    expect(found?.classes[0]?.arrivalsPerSecond).toBeCloseTo(rate);
    expect(found?.classes[0]?.queued).toBe(queued);
    expect(found?.decode.arrivalsPerSecond).toBeCloseTo(rate);
  });

  it("is not known before a pod was read twice", () => {
    expect(demand([[{ atSeconds: 0, arrived: 5 }], []])).toBeUndefined();
  });

  it("has the lengths of what arrived in the window, not of all time", () => {
    const before = aReading({ atSeconds: 0, arrived: 100, length: 100 });
    const after = aReading({ atSeconds: 10, arrived: 0 });
    const grown = aReading({ atSeconds: 10, arrived: 10, length: 1_000 }).classes["all"];
    const [old, add] = [before.classes["all"], grown];
    if (old === undefined || add === undefined) throw new Error("no class");
    const mixed = {
      ...old,
      arrived: old.arrived + add.arrived,
      tokens: old.tokens + add.tokens,
      squared: old.squared + add.squared,
      lengths: old.lengths.map(({ upTo, count }, index) => ({
        upTo,
        count: count + (add.lengths[index]?.count ?? 0),
      })),
    };
    const byPod = [[before, { ...after, output: before.output, classes: { all: mixed } }]];
    const found = demandOf({ classes, byPod, gateways: 1, liveContextTokens: 0 });
    expect(found?.classes[0]).toMatchObject({ meanTokens: 1_000, meanSquareTokens: 1_000_000 });
    expect(found?.classes[0]?.p90Tokens).toBeGreaterThanOrEqual(1_000);
    // No answer ended in the window: their lengths are those of before.
    expect(found?.decode).toMatchObject({ meanOutputTokens: 40, meanContextTokens: 1_020 });
  });

  it("gives a class that only waits the lengths that it had before", () => {
    const found = demand([
      [
        { atSeconds: 0, arrived: 5, length: 300 },
        { atSeconds: 10, arrived: 5, length: 300, waiting: 2 },
      ],
    ]);
    expect(found?.classes[0]).toMatchObject({ arrivalsPerSecond: 0, queued: 2, meanTokens: 300 });
  });

  it("takes the time between tokens from the window's tail", () => {
    const found = demand([
      [
        { atSeconds: 0, arrived: 0 },
        { atSeconds: 10, arrived: 10 },
      ],
    ]);
    expect(found?.decode.p90TbtSeconds).toBeCloseTo(0.09);
  });
});

it.each([
  ["an empty histogram", [], 0],
  ["no bucket but the last", [{ upTo: Infinity, count: 3 }], 0],
  [
    "a value beyond the last bound",
    [
      { upTo: 1, count: 0 },
      { upTo: Infinity, count: 3 },
    ],
    1,
  ],
])("finds a quantile in %s", (_, buckets, value) => {
  expect(quantileOf(buckets, 0.9)).toBe(value);
});

describe("who asks", () => {
  const idle = [
    { atSeconds: 0, arrived: 3 },
    { atSeconds: 10, arrived: 3 },
  ];
  it.each([
    ["nobody", idle, true],
    ["somebody whose answer still goes on", [{ atSeconds: 0, arrived: 3, decoding: 1 }], false],
    ["somebody who waits for ranks", [{ atSeconds: 0, arrived: 3, waitingForRanks: 1 }], false],
    ["somebody who came within the window", [...idle, { atSeconds: 20, arrived: 4 }], false],
  ])("is %s", (_, shapes, expected) => {
    expect(isIdle([shapes.map(aReading)])).toBe(expected);
  });
});

describe("the outlook", () => {
  /** Prompts of `length` tokens. */
  const arrived = (tokens: number, length = 1) => ({
    prompts: tokens / length,
    tokens,
    squaredTokens: tokens * length,
  });
  const after = (stretches: readonly number[], length = 1) =>
    stretches.reduce(
      (outlook, tokens, index) => lookedAt(outlook, arrived(tokens, length), index * stretchMs),
      noOutlook(0),
    );
  /** Over a demand that was counted in the last ten whole stretches. */
  const ratio = (outlook: Outlook, leadSeconds: number) => {
    const recent = outlook.stretches.slice(-11, -1);
    const tokens = recent.reduce((sum, one) => sum + one.tokens, 0);
    const tokensPerSecond = tokens / ((recent.length * stretchMs) / 1000);
    return foresee(outlook, { leadSeconds, tokensPerSecond }).forecastRatio;
  };

  it("predicts nothing from little, and no growth from steady arrivals", () => {
    expect(ratio(after([1, 100, 1_000]), 120)).toBe(1);
    expect(ratio(after(Array.from({ length: 40 }, () => 500)), 120)).toBeCloseTo(1, 1);
  });

  it("sees a rise before it is there", () => {
    expect(ratio(after(Array.from({ length: 40 }, (_, index) => 100 + 50 * index)), 120)).toBeGreaterThan(
      1.1,
    );
  });

  it("keeps room for bursts like those before, and none for what chance makes of a few long prompts", () => {
    const bursts = Array.from({ length: 40 }, (_, index) => (index % 5 < 1 ? 4_000 : 1_000));
    expect(ratio(after(bursts, 10), 60)).toBeGreaterThan(2);
    // Four prompts in one stretch and one in the others.
    expect(ratio(after(bursts, 1_000), 60)).toBe(1);
  });

  it("keeps room for a burst when its season brings it, and none before and after", () => {
    const seasons = (steps: number) =>
      after(
        Array.from({ length: steps }, (_, step) => (step % 20 < 3 ? 10_000 : 1_000)),
        10,
      );
    // The last stretch is under way: the next whole one is the 19th of the fourth season, the 1st of the fifth, ...
    expect(ratio(seasons(76), 60)).toBe(1);
    expect(ratio(seasons(79), 60)).toBeGreaterThan(5);
    expect(ratio(seasons(96), 60)).toBe(1);
  });

  it("plans a foreseen burst to fill the groups wholly, a tenth of its prompts late", () => {
    const season = Array.from({ length: 80 }, (_, step) => (step % 20 < 1 ? 10_000 : 1_000));
    const found = ratio(after(season.slice(0, 79), 10), 60);
    expect(found).toBeCloseTo((0.9 * utilisation * 10_000) / 1_000, 1);
  });

  it("predicts an amount: less of it is a larger share of a smaller present", () => {
    const bursts = after(
      Array.from({ length: 40 }, (_, index) => (index % 5 < 1 ? 4_000 : 1_000)),
      10,
    );
    const over = (tokensPerSecond: number) =>
      foresee(bursts, { leadSeconds: 60, tokensPerSecond }).forecastRatio;
    expect(over(25) / over(50)).toBeCloseTo(2, 9);
    expect(over(0)).toBe(1);
  });

  it("counts stretches without a look as empty", () => {
    const outlook = lookedAt(lookedAt(noOutlook(0), arrived(5), 1), arrived(7), 3.5 * stretchMs);
    expect(outlook.stretches.map(({ tokens }) => tokens)).toEqual([5, 0, 0, 7]);
    expect(outlook.stretchBeganMs).toBe(3 * stretchMs);
  });
});
