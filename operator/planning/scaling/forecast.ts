/**
 * What arrivals will be when a pod that is asked for now serves. Three views, the largest counts:
 *
 *   recent peak      the 9th of ten recent values: load that came in bursts will do so again
 *   season           what the same steps of the seasons before brought (season.ts); in place of the recent peak
 *   Kalman           level and trend: x = [level, trend], level' = level + trend, observed with noise; h steps ahead
 */
export interface KalmanOptions {
  /** Variance of an observation, of one step of the level, and of one step of the trend. */
  readonly observation: number;
  readonly level: number;
  readonly trend: number;
}

export interface Forecast {
  /** Never negative. */
  readonly value: number;
  /** Standard error of the value, in standard deviations of an observation. */
  readonly error: number;
}

/** @returns the level `ahead` steps after the series; undefined for an empty series. */
export function kalmanForecast(
  series: readonly number[],
  ahead: number,
  noise: KalmanOptions,
): Forecast | undefined {
  const [first, ...rest] = series;
  if (first === undefined) return undefined;
  let level = first;
  let trend = 0;
  // Covariance [[a, b], [b, c]]: the first value is as good as an observation, of the trend nothing is known.
  let a = noise.observation;
  let b = 0;
  let c = noise.observation;
  for (const observed of rest) {
    level += trend;
    a += 2 * b + c + noise.level;
    b += c;
    c += noise.trend;
    const scale = a + noise.observation;
    const gainLevel = a / scale;
    const gainTrend = b / scale;
    const surprise = observed - level;
    level += gainLevel * surprise;
    trend += gainTrend * surprise;
    c -= gainTrend * b;
    b -= gainLevel * b;
    a -= gainLevel * a;
  }
  const variance = a + 2 * ahead * b + ahead ** 2 * c;
  return { value: Math.max(0, level + ahead * trend), error: Math.sqrt(variance / noise.observation) };
}

/** The value that one in ten of the last `looks` exceeds. */
export function recentPeak(series: readonly number[], looks: number): number | undefined {
  const recent = series.slice(-looks).sort((a, b) => a - b);
  return recent[Math.ceil(0.9 * recent.length) - 1];
}

/**
 * Predicted arrivals over present ones, between 1 and `most`: a floor under the reactive loop, never a ceiling.
 *
 * @param least ratios below it are noise, which the margins of the planner hold, and count as 1.
 */
export function forecastRatio(
  present: number,
  predictions: readonly (number | undefined)[],
  most: number,
  least = 1,
): number {
  const known = predictions.filter((one): one is number => one !== undefined && Number.isFinite(one));
  if (!(present > 0) || known.length === 0) return 1;
  const ratio = Math.max(1, ...known.map((one) => one / present));
  return ratio < least ? 1 : Math.min(most, ratio);
}
