/** What is free in the cluster now, the places that were just given away included. */
import type { Node, Pod } from "../kube/object.ts";
import type { Store } from "../kube/store.ts";
import type { Cluster } from "../planning/placement/place.ts";
import { defaultLevels, withNamedLevels } from "../planning/topology/level.ts";
import { clusterSnapshot, type PodOnNode } from "../planning/topology/snapshot.ts";
import { topologyTree } from "../planning/topology/tree.ts";
import { isOver, nodeOf } from "./podView.ts";

/**
 * Places given to pods whose cached object does not show it yet. Without it, two gangs planned within one lag of
 * the cache would get the same room.
 */
export class PlacementLedger {
  readonly #nodeByPod = new Map<string, string>();

  give(podUid: string, node: string): void {
    this.#nodeByPod.set(podUid, node);
  }

  /** The pod shows its node, the lift failed, or the pod is gone. */
  forget(podUid: string): void {
    this.#nodeByPod.delete(podUid);
  }

  nodeOf(podUid: string): string | undefined {
    return this.#nodeByPod.get(podUid);
  }
}

export interface CapacitySources {
  readonly nodes: Store<Node>;
  readonly pods: Store<Pod>;
  readonly ledger: PlacementLedger;
}

/** `named`: levels of the request, so that a bare label key can be one. */
export function observeCluster(sources: CapacitySources, named: readonly (string | undefined)[]): Cluster {
  const occupying: PodOnNode[] = [];
  for (const pod of sources.pods.list()) {
    if (isOver(pod) || pod.spec === undefined) continue;
    const node = nodeOf(pod) ?? sources.ledger.nodeOf(pod.metadata.uid);
    if (node !== undefined) occupying.push({ node, spec: pod.spec });
  }
  const snapshot = clusterSnapshot(sources.nodes.list(), occupying);
  return { snapshot, tree: topologyTree(snapshot, withNamedLevels(defaultLevels, named)) };
}
