/** The cluster as the operator's placement sees it, from one reading or from a file. */
import type { Node, Pod } from "../kube/object.ts";
import { Store } from "../kube/store.ts";
import { observeCluster, PlacementLedger } from "../ranks/capacity.ts";
import { podIndex } from "../ranks/context.ts";
import { labelKey } from "../ranks/names.ts";
import type { Cluster as PlanningCluster } from "../planning/placement/cluster.ts";
import type { Machines } from "./observe.ts";

export interface CapacityView {
  readonly pods: Store<Pod>;
  /** Free now, the pods that were added to the store included; `named`: levels that a request names. */
  readonly cluster: (named: readonly (string | undefined)[]) => PlanningCluster;
}

export function capacityView(machines: Machines, nowMs: () => number): CapacityView {
  const nodes = new Store<Node>();
  const pods = new Store<Pod>({
    [podIndex.deployment]: ({ metadata }) => {
      const deployment = metadata.labels?.[labelKey.deployment];
      return deployment === undefined ? [] : [`${metadata.namespace ?? ""}/${deployment}`];
    },
  });
  nodes.replace(machines.nodes);
  pods.replace(machines.pods);
  // Nothing is placed twice within one reading, so that the ledger stays empty.
  const ledger = new PlacementLedger(nowMs);
  return { pods, cluster: (named) => observeCluster({ nodes, pods, ledger }, named) };
}
