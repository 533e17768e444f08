/** Load that repeats itself: the length of its season, and what the next steps will bring if it goes on so. */

const leastSeason = 4;
const leastCorrelation = 0.5;

/**
 * The lag at which a series repeats itself best, by its autocorrelation over at least two whole seasons: at least a half,
 * and three standard errors above that of noise, 1/sqrt(pairs), as the best of many lags is picked. At some shorter lag it
 * must have been unlike itself: a series that only drifts is like itself at every lag.
 *
 * @returns undefined while nothing repeats, or has not yet done so twice.
 */
export function seasonOf(series: readonly number[]): number | undefined {
  const mean = series.reduce((sum, one) => sum + one, 0) / series.length;
  const centred = series.map((one) => one - mean);
  const variance = centred.reduce((sum, one) => sum + one ** 2, 0) / series.length;
  if (!(variance > 0)) return undefined;
  let best: { readonly lag: number; readonly correlation: number } | undefined;
  let least = 1;
  for (let lag = 1; 2 * lag <= series.length; lag++) {
    let sum = 0;
    for (let index = lag; index < centred.length; index++)
      sum += (centred[index] ?? 0) * (centred[index - lag] ?? 0);
    const pairs = centred.length - lag;
    const correlation = sum / pairs / variance;
    least = Math.min(least, correlation);
    if (lag < leastSeason || least > 0) continue;
    const significant = correlation >= Math.max(leastCorrelation, 3 / Math.sqrt(pairs));
    if (significant && correlation > (best?.correlation ?? 0)) best = { lag, correlation };
  }
  return best?.lag;
}

/** Largest of the next `ahead` steps, each expected to be the mean of the same steps of all seasons seen. */
export function seasonalPeak(series: readonly number[], season: number, ahead: number): number {
  const expected = Array.from({ length: ahead }, (_, step) => {
    let [sum, seasons] = [0, 0];
    for (let at = series.length + (step % season) - season; at >= 0; at -= season) {
      sum += series[at] ?? 0;
      seasons += 1;
    }
    return seasons === 0 ? 0 : sum / seasons;
  });
  return Math.max(0, ...expected);
}
