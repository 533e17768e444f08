/** Makes the loop over decode pools: each is looked at again and again, sooner while pages move. */
import { Controller } from "../kube/controller.ts";
import type { Informer } from "../kube/informer.ts";
import { type DecodePool, keyOf } from "../kube/object.ts";
import type { Telemetry } from "../kube/telemetry.ts";
import { WorkQueue } from "../kube/workqueue.ts";
import { rebalanceAnnotation } from "../ranks/rebalanceMark.ts";
import { nameOf } from "./act.ts";
import type { RebalancerContext } from "./context.ts";
import { rebalancePool } from "./reconcile.ts";

export function registerRebalancer(
  context: RebalancerContext,
  pools: Informer<DecodePool>,
  telemetry: Telemetry,
): Controller {
  const queue = new WorkQueue({ name: "rebalancer", telemetry });
  pools.handle({
    added: (pool) => {
      queue.add(keyOf(pool));
    },
    updated: (before, pool) => {
      const asked = ({ metadata }: DecodePool): string | undefined =>
        metadata.annotations?.[rebalanceAnnotation];
      const changed = before.metadata.generation !== pool.metadata.generation;
      if (changed || asked(before) !== asked(pool)) queue.add(keyOf(pool));
    },
    removed: (pool) => {
      context.memories.forget(pool.metadata.uid);
      context.meters.forget(nameOf(pool));
    },
  });
  return new Controller({
    name: queue.name,
    queue,
    telemetry,
    concurrency: 4,
    reconcile: async (key, signal) => {
      const pool = context.pools.get(key);
      if (pool === undefined || pool.metadata.deletionTimestamp !== undefined) return undefined;
      return rebalancePool(context, pool, signal);
    },
  });
}
