/**
 * When a failed rank may be made again: after 10 s, then twice as long for each failure within the window, at
 * most 300 s; more failures than the budget within the window are terminal until the spec changes.
 */

export interface RestartPolicy {
  readonly firstBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly windowMs: number;
  readonly budget: number;
}

export const defaultRestartPolicy: RestartPolicy = {
  firstBackoffMs: 10_000,
  maxBackoffMs: 300_000,
  windowMs: 3_600_000,
  budget: 12,
};

export type RestartVerdict =
  | { readonly verdict: "Now" }
  | { readonly verdict: "Wait"; readonly forMs: number }
  | { readonly verdict: "Exhausted"; readonly failures: number };

export function recentFailures(
  failuresMs: readonly number[],
  nowMs: number,
  policy: RestartPolicy,
): readonly number[] {
  return failuresMs.filter((at) => nowMs - at < policy.windowMs);
}

export function planRestart(
  failuresMs: readonly number[],
  nowMs: number,
  policy: RestartPolicy,
): RestartVerdict {
  const recent = recentFailures(failuresMs, nowMs, policy);
  const last = recent.at(-1);
  if (last === undefined) return { verdict: "Now" };
  if (recent.length > policy.budget) return { verdict: "Exhausted", failures: recent.length };
  const backoffMs = Math.min(policy.maxBackoffMs, policy.firstBackoffMs * 2 ** (recent.length - 1));
  const forMs = last + backoffMs - nowMs;
  return forMs > 0 ? { verdict: "Wait", forMs } : { verdict: "Now" };
}
