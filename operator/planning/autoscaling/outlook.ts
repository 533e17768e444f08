/**
 * Arrivals as a series of stretches, and what they will be when ranks that are asked for now serve.
 *
 * Prompts that come one by one, in no concert, make the tokens of a stretch stray by sqrt(sum of squared lengths). A
 * prediction counts only beyond three times its standard error: what is within it, the planner's queue has counted already.
 */
import { forecastRatio, kalmanForecast, recentPeak, seasonalNaive, seasonOf } from "../scaling/forecast.ts";

export interface Arrived {
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
const peakStretches = 20;
/** Predictions below so many times the present are noise, which the planner's margins hold. */
const leastRatio = 1.1;

const noiseDeviations = 3;
const nothing: Arrived = { tokens: 0, squaredTokens: 0 };

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
      tokens: total.tokens + one.tokens,
      squaredTokens: total.squaredTokens + one.squaredTokens,
    }),
    nothing,
  );
}

/** Predicted arrivals over present ones when ranks take so long to serve; 1 while too little was seen. */
export function outlookRatio(outlook: Outlook, leadSeconds: number): number {
  const complete = outlook.stretches.slice(0, -1);
  const recent = complete.slice(-presentStretches);
  if (recent.length < presentStretches) return 1;
  const total = sum(recent);
  const present = total.tokens / recent.length;
  const deviation = Math.sqrt(total.squaredTokens / recent.length);
  const certain = (value: number | undefined, error = 1) =>
    value !== undefined && value > present + noiseDeviations * error * deviation ? value : undefined;
  const series = complete.map(({ tokens }) => tokens);
  const ahead = Math.max(1, Math.ceil((leadSeconds * 1000) / stretchMs));
  const season = seasonOf(series);
  const seasonal = season === undefined ? undefined : seasonalNaive(series, season, ahead);
  const trend = kalmanForecast(series, ahead, noise);
  const predictions = [
    certain(seasonal),
    certain(trend?.value, trend?.error),
    certain(recentPeak(series, peakStretches)),
  ];
  return forecastRatio(present, predictions, mostRatio, leastRatio);
}
