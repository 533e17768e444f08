/**
 * Demand from the readings of a window: rates from arrivals, never from completions; lengths by class; queues as they are
 * now. A gateway that can't be read is taken to see what the others see on average.
 */
import type { ClassDemand, DecodeDemand, Demand, LengthClass } from "../scaling/decision.ts";
import { type Growth, growthOf, type GatewayReading, quantileOf, sumBuckets, sumGrowth } from "./reading.ts";

export interface DemandFacts {
  readonly classes: readonly LengthClass[];
  /** Readings of the window, by pod, oldest first. */
  readonly byPod: readonly (readonly GatewayReading[])[];
  /** Gateway pods that should be read. */
  readonly gateways: number;
  /** Tokens in the pool's KV now. */
  readonly liveContextTokens: number;
}

/** Answers are taken to be so long until one has ended. */
const assumedOutputTokens = 256;
const tail = 0.9;

/** Of the present, without a forecast. @returns undefined while no pod has been read twice. */
export function demandOf(facts: DemandFacts): Demand | undefined {
  const grown = facts.byPod.flatMap((readings) => growthOf(readings) ?? []);
  if (grown.length === 0) return undefined;
  const unseen = Math.max(1, facts.gateways / grown.length);
  const rates = grown.map((one) => perSecond(one));
  const latest = facts.byPod.flatMap((readings) => readings.at(-1) ?? []);
  const total = sumGrowth(grown);
  const classes = facts.classes.map((one): ClassDemand => {
    const rate = rates.reduce((sum, rateOf) => sum + rateOf(one.name), 0);
    const queued = latest.reduce((sum, { classes: seen }) => sum + (seen[one.name]?.waiting ?? 0), 0);
    return {
      name: one.name,
      arrivalsPerSecond: rate * unseen,
      queued: Math.round(queued * unseen),
      ...lengthsOf(one, total, latest),
    };
  });
  return { classes, decode: decodeDemand(facts, classes, total, latest), forecastRatio: 1 };
}

/** Each pod over its own time: one that is new has been seen for less. */
function perSecond({ seconds, classes }: Growth): (name: string) => number {
  return (name) => (classes[name]?.arrived ?? 0) / seconds;
}

type Lengths = Pick<ClassDemand, "p90Tokens" | "meanTokens" | "meanSquareTokens">;

/** Of the window; a class that only waits has its lengths from further back. */
function lengthsOf(
  { name, upToTokens }: LengthClass,
  window: Growth,
  latest: readonly GatewayReading[],
): Lengths {
  const recent = window.classes[name];
  if (recent !== undefined && recent.arrived > 0) return moments(recent, upToTokens);
  const ever = latest.flatMap(({ classes }) => classes[name] ?? []);
  const sum = (of: (one: (typeof ever)[number]) => number): number =>
    ever.reduce((total, one) => total + of(one), 0);
  return moments(
    {
      arrived: sum(({ arrived }) => arrived),
      tokens: sum(({ tokens }) => tokens),
      squared: sum(({ squared }) => squared),
      lengths: sumBuckets(ever.map(({ lengths }) => lengths)),
    },
    upToTokens,
  );
}

function moments(one: Growth["classes"][string], upToTokens: number): Lengths {
  if (one.arrived === 0) return { p90Tokens: 0, meanTokens: 0, meanSquareTokens: 0 };
  const meanTokens = one.tokens / one.arrived;
  const p90Tokens = Math.min(upToTokens, quantileOf(one.lengths, tail));
  return {
    // Longer prompts than the last class's end count to it.
    p90Tokens: Math.max(p90Tokens, Math.ceil(meanTokens)),
    meanTokens,
    meanSquareTokens: one.squared / one.arrived,
  };
}

function decodeDemand(
  facts: DemandFacts,
  classes: readonly ClassDemand[],
  window: Growth,
  latest: readonly GatewayReading[],
): DecodeDemand {
  const arrivalsPerSecond = classes.reduce((sum, one) => sum + one.arrivalsPerSecond, 0);
  const ended = window.output.count > 0 ? window.output : sumOutput(latest);
  const meanOutputTokens = ended.count > 0 ? ended.tokens / ended.count : assumedOutputTokens;
  const meanPrompt =
    arrivalsPerSecond > 0
      ? classes.reduce((sum, one) => sum + one.arrivalsPerSecond * one.meanTokens, 0) / arrivalsPerSecond
      : 0;
  return {
    arrivalsPerSecond,
    meanOutputTokens,
    meanContextTokens: meanPrompt + meanOutputTokens / 2,
    liveContextTokens: facts.liveContextTokens,
    p90TbtSeconds: quantileOf(window.tokenGaps, tail),
  };
}

function sumOutput(latest: readonly GatewayReading[]): Growth["output"] {
  return {
    count: latest.reduce((sum, { output }) => sum + output.count, 0),
    tokens: latest.reduce((sum, { output }) => sum + output.tokens, 0),
  };
}

/** Tokens of prompts that arrive in a second, by a demand. */
export function promptTokensPerSecond({ classes }: Pick<Demand, "classes">): number {
  return classes.reduce((sum, one) => sum + one.arrivalsPerSecond * one.meanTokens, 0);
}

/** Whether anybody asks: something arrived in the window, or is here now. */
export function isIdle(byPod: readonly (readonly GatewayReading[])[]): boolean {
  const here = byPod.flatMap((readings) => readings.at(-1) ?? []);
  const busy = here.some(
    ({ waitingForRanks, classes }) =>
      waitingForRanks > 0 ||
      Object.values(classes).some(({ waiting, prefilling, decoding }) => waiting + prefilling + decoding > 0),
  );
  const grew = byPod.some((readings) =>
    Object.values(growthOf(readings)?.classes ?? {}).some(({ arrived }) => arrived > 0),
  );
  return !busy && !grew;
}
