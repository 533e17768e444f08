/**
 * Wait before a group takes a prompt, c groups, Poisson arrivals of several kinds, each s_i seconds of one group:
 *
 *   u     = sum(rate_i s_i) / c
 *   mean  = u^(sqrt(2 (c + 1)) - 2)  sum(rate_i s_i^2) / (2 c^2 (1 - u))          Sakasegawa, Allen-Cunneen
 *   p90  <= 10/e mean          whatever the share of arrivals that wait at all
 *
 * One server gives Pollaczek-Khinchine exactly. Both grow with every rate and fall with c, so sizes can be searched.
 */
export interface Work {
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly squaredSeconds: number;
}

const tailOfMean = 10 / Math.E;

export function utilisation(work: readonly Work[], servers: number): number {
  const busy = work.reduce((sum, one) => sum + one.ratePerSecond * one.seconds, 0);
  return busy === 0 ? 0 : busy / servers;
}

/** Infinite when the work does not fit. */
export function meanWaitSeconds(work: readonly Work[], servers: number): number {
  const used = utilisation(work, servers);
  if (used === 0) return 0;
  if (!(used < 1)) return Infinity;
  const residual = work.reduce((sum, one) => sum + one.ratePerSecond * one.squaredSeconds, 0) / 2;
  const shared = used ** (Math.sqrt(2 * (servers + 1)) - 2);
  return (shared * residual) / (servers ** 2 * (1 - used));
}

export function p90WaitSeconds(work: readonly Work[], servers: number): number {
  return tailOfMean * meanWaitSeconds(work, servers);
}
