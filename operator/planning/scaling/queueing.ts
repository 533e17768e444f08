/**
 * Wait before one of c servers takes a prompt, Poisson arrivals of several kinds, each s_i seconds of one server:
 *
 *   u     = sum(rate_i s_i) / c
 *   P     = u^(sqrt(2 (c + 1)) - 1)                                               share of arrivals that wait
 *   mean  = u^(sqrt(2 (c + 1)) - 2)  sum(rate_i s_i^2) / (2 c^2 (1 - u))          Sakasegawa, Allen-Cunneen
 *   p90   = mean / P  ln(10 P)          those that wait do so exponentially; zero where fewer than a tenth wait
 *
 * One server's mean is Pollaczek-Khinchine's. Both grow with every rate and fall with c, so sizes can be searched.
 */
export interface Work {
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly squaredSeconds: number;
}

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
  const used = utilisation(work, servers);
  if (used === 0) return 0;
  if (!(used < 1)) return Infinity;
  const waiting = used ** (Math.sqrt(2 * (servers + 1)) - 1);
  if (waiting <= 0.1) return 0;
  return (meanWaitSeconds(work, servers) / waiting) * Math.log(10 * waiting);
}
