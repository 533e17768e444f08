/** Arrivals as a series of stretches, and what they will be when ranks that are asked for now serve. */
import { forecastRatio, kalmanForecast, recentPeak, seasonalNaive, seasonOf } from "../scaling/forecast.ts";

/** Tokens that arrived in each stretch, oldest first; the last one is still under way. */
export interface Outlook {
  readonly tokens: readonly number[];
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

export function noOutlook(nowMs: number): Outlook {
  return { tokens: [0], stretchBeganMs: nowMs };
}

/** With tokens that arrived since the last look. Stretches without a look count as empty. */
export function lookedAt(outlook: Outlook, tokens: number, nowMs: number): Outlook {
  const passed = Math.min(mostStretches, Math.floor((nowMs - outlook.stretchBeganMs) / stretchMs));
  if (passed <= 0) return { ...outlook, tokens: withLast(outlook.tokens, tokens) };
  const empty = Array.from({ length: passed - 1 }, () => 0);
  return {
    tokens: [...outlook.tokens, ...empty, tokens].slice(-mostStretches),
    stretchBeganMs: outlook.stretchBeganMs + passed * stretchMs,
  };
}

function withLast(tokens: readonly number[], more: number): readonly number[] {
  return [...tokens.slice(0, -1), (tokens.at(-1) ?? 0) + more];
}

/** Predicted arrivals over present ones when ranks take so long to serve; 1 while too little was seen. */
export function outlookRatio(outlook: Outlook, leadSeconds: number): number {
  const series = outlook.tokens.slice(0, -1);
  const recent = series.slice(-presentStretches);
  if (recent.length < presentStretches) return 1;
  const present = recent.reduce((sum, one) => sum + one, 0) / recent.length;
  const ahead = Math.max(1, Math.ceil((leadSeconds * 1000) / stretchMs));
  const season = seasonOf(series);
  const seasonal = season === undefined ? undefined : seasonalNaive(series, season, ahead);
  const predictions = [seasonal, kalmanForecast(series, ahead, noise), recentPeak(series, peakStretches)];
  return forecastRatio(present, predictions, mostRatio, leastRatio);
}
