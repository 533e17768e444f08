/** Counts generations that went on elsewhere, and what that cost. */
import type { Metrics } from "../metrics.ts";
import type { Recovery } from "./generate.ts";

export function countRecoveries(metrics: Metrics, nowMs: () => number): (recovery: Recovery) => () => void {
  return ({ cause, tokens }) => {
    metrics.recoveries.inc({ cause });
    metrics.recoveryTokens.inc(tokens);
    const noticedMs = nowMs();
    return () => {
      metrics.recoveryPause.observe((nowMs() - noticedMs) / 1000);
    };
  };
}
