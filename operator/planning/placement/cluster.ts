/** What placement looks at. */
import { defaultLevels, withNamedLevels } from "../topology/level.ts";
import type { ClusterSnapshot } from "../topology/snapshot.ts";
import { topologyTree, type TopologyTree } from "../topology/tree.ts";

/** One planning cycle over one snapshot. */
export interface Cluster {
  readonly snapshot: ClusterSnapshot;
  readonly tree: TopologyTree;
}

/** By the known levels and those that a request names, so that a bare label key can be one. */
export function clusterOf(snapshot: ClusterSnapshot, named: readonly (string | undefined)[]): Cluster {
  return { snapshot, tree: topologyTree(snapshot, withNamedLevels(defaultLevels, named)) };
}
