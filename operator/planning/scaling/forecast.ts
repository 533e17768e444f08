/**
 * What arrivals will be when a pod that is asked for now serves. Two views, the larger one counts:
 *
 *   seasonal naive   the value one season before the time that is predicted
 *   Kalman           level and trend: x = [level, trend], level' = level + trend, observed with noise; h steps ahead
 */
export interface KalmanOptions {
  /** Variance of an observation, of one step of the level, and of one step of the trend. */
  readonly observation: number;
  readonly level: number;
  readonly trend: number;
}

/** @returns undefined when the series is shorter than a season. */
export function seasonalNaive(series: readonly number[], season: number, ahead: number): number | undefined {
  if (season < 1 || ahead < 1) return undefined;
  const back = Math.ceil(ahead / season) * season;
  return series[series.length - 1 + ahead - back];
}

/** @returns the level `ahead` steps after the series, never negative; undefined for an empty series. */
export function kalmanForecast(
  series: readonly number[],
  ahead: number,
  noise: KalmanOptions,
): number | undefined {
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
  return Math.max(0, level + ahead * trend);
}

/** Predicted arrivals over present ones, between 1 and `most`: a floor under the reactive loop, never a ceiling. */
export function forecastRatio(
  present: number,
  predictions: readonly (number | undefined)[],
  most: number,
): number {
  const known = predictions.filter((one): one is number => one !== undefined && Number.isFinite(one));
  if (!(present > 0) || known.length === 0) return 1;
  return Math.min(most, Math.max(1, ...known.map((one) => one / present)));
}
