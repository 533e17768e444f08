/**
 * Wait before one of c servers takes a prompt, Poisson arrivals of several kinds, each s_i seconds of one server:
 *
 *   u     = sum(rate_i s_i) / c
 *   P     = u^(sqrt(2 (c + 1)) - 1)                                               share of arrivals that wait
 *   mean  = u^(sqrt(2 (c + 1)) - 2)  sum(rate_i s_i^2) / (2 c^2 (1 - u))          Sakasegawa, Allen-Cunneen
 *   late  = (1 - u) y / (1 - u y),  y = P exp(-x P / mean)                        share that waits longer than x
 *   p90   = mean / P  ln(10 P (1 - 0.9 u))                                        x at which a tenth is late
 *
 * One server's mean is Pollaczek-Khinchine's. Late prompts stand back (roles/turn.ts), so they don't make those behind them
 * late: of y, what would be late in order of arrival, so much less is, by the queue of impatient customers (M/M/1+D).
 * Both grow with every rate and fall with c, so sizes can be searched.
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

/** The wait that nine of ten stay below while late ones stand back; zero where fewer would wait at all. */
export function p90WaitSeconds(work: readonly Work[], servers: number): number {
  const used = utilisation(work, servers);
  if (used === 0) return 0;
  if (!(used < 1)) return Infinity;
  const waiting = used ** (Math.sqrt(2 * (servers + 1)) - 1);
  const excess = 10 * waiting * (1 - 0.9 * used);
  return excess <= 1 ? 0 : (meanWaitSeconds(work, servers) / waiting) * Math.log(excess);
}
