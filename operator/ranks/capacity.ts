/** What is free in the cluster now, the places that were just given away included. */
import type { Node, Pod } from "../kube/object.ts";
import type { Store } from "../kube/store.ts";
import { type Cluster, clusterOf } from "../planning/placement/cluster.ts";
import { clusterSnapshot, type PodOnNode } from "../planning/topology/snapshot.ts";
import { isOver, nodeOf } from "./podView.ts";

const holdMs = 20_000;

/**
 * Places given to pods whose cached object does not show it yet. Without it, two gangs planned within one lag of
 * the cache would get the same room.
 */
export class PlacementLedger {
  readonly #places = new Map<string, { readonly node: string; readonly untilMs: number }>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Held until the cache shows it, or for a while: a lift that failed half-way must not hold room for ever. */
  give(podUid: string, node: string): void {
    this.#places.set(podUid, { node, untilMs: this.#nowMs() + holdMs });
  }

  /** The pod shows its node, the lift failed, or the pod is gone. */
  forget(podUid: string): void {
    this.#places.delete(podUid);
  }

  nodeOf(podUid: string): string | undefined {
    const place = this.#places.get(podUid);
    if (place === undefined) return undefined;
    if (this.#nowMs() < place.untilMs) return place.node;
    this.#places.delete(podUid);
    return undefined;
  }
}

export interface CapacitySources {
  readonly nodes: Store<Node>;
  readonly pods: Store<Pod>;
  readonly ledger: PlacementLedger;
}

/** `named`: levels of the request. */
export function observeCluster(sources: CapacitySources, named: readonly (string | undefined)[]): Cluster {
  const occupying: PodOnNode[] = [];
  for (const pod of sources.pods.list()) {
    if (isOver(pod) || pod.spec === undefined) continue;
    const node = nodeOf(pod) ?? sources.ledger.nodeOf(pod.metadata.uid);
    if (node !== undefined) occupying.push({ node, spec: pod.spec });
  }
  return clusterOf(clusterSnapshot(sources.nodes.list(), occupying), named);
}
