/** Placements on record: everything that one was decided from, beside what was decided, so that it can be made again. */
import type { ClusterSnapshot, NodeFacts } from "../topology/snapshot.ts";
import { type Cluster, clusterOf } from "./cluster.ts";
import { type PlacementDecision, type PlacementRequest, planPlacement } from "./place.ts";

export interface PlacementRecord {
  readonly snapshot: ClusterSnapshot;
  readonly request: PlacementRequest;
  readonly decision: PlacementDecision;
}

/** Keeps of each node what the request looks at: other labels and resources are nobody's business. */
export function placementRecord(
  { snapshot, tree }: Cluster,
  request: PlacementRequest,
  decision: PlacementDecision,
): PlacementRecord {
  const { nodeSelector, request: resources } = request.shape;
  const labels = new Set([...tree.levels.flatMap(({ keys }) => keys), ...Object.keys(nodeSelector)]);
  const kept = (node: NodeFacts): NodeFacts => ({
    ...node,
    labels: only(node.labels, (key) => labels.has(key)),
    free: only(node.free, (name) => name in resources),
  });
  return { snapshot: snapshot.map(kept), request, decision };
}

export function replayPlacement({ snapshot, request }: PlacementRecord): PlacementDecision {
  return planPlacement(clusterOf(snapshot, [request.required, request.preferred]), request);
}

function only<T>(all: Readonly<Record<string, T>>, wanted: (key: string) => boolean): Record<string, T> {
  return Object.fromEntries(Object.entries(all).filter(([key]) => wanted(key)));
}
