/** Connects what the rebalancer tells to the operator's metrics. */
import type { Metrics } from "../observability/metrics.ts";
import type { PoolName, RebalanceMeters } from "./context.ts";

export function rebalanceMeters(metrics: Metrics): RebalanceMeters {
  const reasons = new Map<string, string>();
  const keyOf = ({ namespace, name }: PoolName): string => `${namespace}/${name}`;
  const clearReason = (pool: PoolName): void => {
    const reason = reasons.get(keyOf(pool));
    if (reason !== undefined) metrics.rebalanceState.remove({ ...pool, reason });
    reasons.delete(keyOf(pool));
  };
  return {
    decided(pool, reason) {
      if (reasons.get(keyOf(pool)) !== reason) clearReason(pool);
      reasons.set(keyOf(pool), reason);
      metrics.rebalanceState.set({ ...pool, reason }, 1);
      metrics.rebalanceDecisions.inc({ ...pool, reason });
    },
    moved(pool, outcome) {
      metrics.rebalanceMoves.inc({ ...pool, outcome });
    },
    committed(pool, { bytes, stallMs }) {
      metrics.rebalanceBytes.inc({ ...pool }, bytes);
      metrics.rebalanceStallSeconds.observe({ ...pool }, stallMs / 1000);
    },
    imbalance(pool, quantity, value) {
      metrics.rebalanceImbalance.set({ ...pool, quantity }, value);
    },
    forget(pool) {
      clearReason(pool);
      for (const quantity of ["scan", "memory"]) metrics.rebalanceImbalance.remove({ ...pool, quantity });
    },
  };
}
