/**
 * Arrivals as a series of stretches, and what they will be when ranks that are asked for now serve.
 *
 * Prompts that come one by one, in no concert, make the tokens of a stretch stray by sqrt(sum of squared lengths). A
 * prediction counts only beyond three times its standard error: what is within it, the planner's queue has counted already.
 *
 * Seasons are found in the numbers of prompts, as one very long prompt hides what all others do. Where load has a season,
 * the recent peak says nothing more: a burst that is not due is not kept room for.
 */
import type { Demand } from "../scaling/decision.ts";
import { forecastRatio, kalmanForecast, recentPeak } from "../scaling/forecast.ts";
import { seasonalPeak, seasonOf } from "../scaling/season.ts";
import { utilisation } from "./policy.ts";

export interface Arrived {
  readonly prompts: number;
  readonly tokens: number;
  /** Sum of the squares of the prompts' lengths. */
  readonly squaredTokens: number;
}

/** What arrived in each stretch, oldest first; the last one is still under way. */
export interface Outlook {
  readonly stretches: readonly Arrived[];
  readonly stretchBeganMs: number;
}

export const stretchMs = 30_000;
const mostStretches = 2_880;
/** Present arrivals are averaged over so many stretches, and before that nothing is predicted. */
const presentStretches = 10;
const noise = { observation: 1, level: 0.05, trend: 0.0002 };
const mostRatio = 12;
/** A burst may come a little before it is due, and begins amid a stretch. */
const seasonSlack = 2;
const peakStretches = 20;
/**
 * Of a foreseen peak that ranks are planned for. It is over after a stretch, so it may fill the groups wholly, where the
 * planner leaves room in work that goes on; and a tenth of its prompts may be late, as objectives are for nine of ten and
 * late prompts delay no others.
 */
const peakShare = 0.9 * utilisation;
/** Predictions below so many times the present are noise, which the planner's margins hold. */
const leastRatio = 1.1;

const noiseDeviations = 3;
const nothing: Arrived = { prompts: 0, tokens: 0, squaredTokens: 0 };

export function noOutlook(nowMs: number): Outlook {
  return { stretches: [], stretchBeganMs: nowMs };
}

/** With what arrived since the last look. Stretches without a look count as empty. */
export function lookedAt(outlook: Outlook, arrived: Arrived, nowMs: number): Outlook {
  const { stretches, stretchBeganMs } = outlook;
  const passed = Math.min(mostStretches, Math.floor((nowMs - stretchBeganMs) / stretchMs));
  if (passed <= 0) {
    const last = stretches.at(-1) ?? nothing;
    return { ...outlook, stretches: [...stretches.slice(0, -1), sum([last, arrived])] };
  }
  const empty = Array.from({ length: passed - 1 }, () => nothing);
  return {
    stretches: [...stretches, ...empty, arrived].slice(-mostStretches),
    stretchBeganMs: stretchBeganMs + passed * stretchMs,
  };
}

function sum(all: readonly Arrived[]): Arrived {
  return all.reduce(
    (total, one) => ({
      prompts: total.prompts + one.prompts,
      tokens: total.tokens + one.tokens,
      squaredTokens: total.squaredTokens + one.squaredTokens,
    }),
    nothing,
  );
}

export interface Present {
  /** Ranks that are asked for now serve after so long. */
  readonly leadSeconds: number;
  /** Of the demand that the ratio is to multiply, over its own window. */
  readonly tokensPerSecond: number;
}

/** Predicted arrivals over present ones, 1 while too little was seen; and whether they have a season. */
export function foresee(
  outlook: Outlook,
  { leadSeconds, tokensPerSecond }: Present,
): Required<Pick<Demand, "forecastRatio" | "seasonal">> {
  const complete = outlook.stretches.slice(0, -1);
  const recent = complete.slice(-presentStretches);
  if (recent.length < presentStretches) return { forecastRatio: 1, seasonal: false };
  const total = sum(recent);
  const present = total.tokens / recent.length;
  const deviation = Math.sqrt(total.squaredTokens / recent.length);
  const certain = (value: number | undefined, error = 1) =>
    value !== undefined && value > present + noiseDeviations * error * deviation ? value : undefined;
  const series = complete.map(({ tokens }) => tokens);
  const ahead = Math.max(1, Math.ceil((leadSeconds * 1000) / stretchMs));
  const trend = kalmanForecast(series, ahead, noise);
  const seasonal = seasonalTokens(complete, ahead + seasonSlack);
  const predictions = [
    certain(trend?.value, trend?.error),
    certain(seasonal ?? recentPeak(series, peakStretches)),
  ];
  const base = (tokensPerSecond * stretchMs) / 1000;
  return {
    forecastRatio: forecastRatio(base, predictions, mostRatio, leastRatio),
    seasonal: seasonal !== undefined,
  };
}

/** Of the fullest stretch ahead, what is planned for; undefined where load has no season. */
function seasonalTokens(complete: readonly Arrived[], ahead: number): number | undefined {
  const prompts = complete.map((one) => one.prompts);
  const season = seasonOf(prompts);
  if (season === undefined) return undefined;
  const all = sum(complete);
  return (peakShare * seasonalPeak(prompts, season, ahead) * all.tokens) / all.prompts;
}
