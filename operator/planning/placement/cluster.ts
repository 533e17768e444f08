/** What placement looks at. */
import type { ClusterSnapshot } from "../topology/snapshot.ts";
import type { TopologyTree } from "../topology/tree.ts";

/** One planning cycle over one snapshot. */
export interface Cluster {
  readonly snapshot: ClusterSnapshot;
  readonly tree: TopologyTree;
}
