/** The sentences that say why a group has no place, in Kueue's words. */
import type { ClusterSnapshot } from "../topology/snapshot.ts";
import type { NodeFit } from "./eligibility.ts";

/** `excluded nodes: 3 insufficient nvidia.com/gpu, 1 not ready`; empty when every node takes a rank. */
export function excludedNodes(snapshot: ClusterSnapshot, fits: readonly NodeFit[]): string {
  const counts = new Map<string, number>();
  for (const fit of fits) {
    for (const reason of fit.exclusions) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  if (snapshot.length === 0) return "the cluster has no nodes";
  if (counts.size === 0) return "";
  const parts = [...counts]
    .sort(([a, countA], [b, countB]) => countB - countA || (a < b ? -1 : 1))
    .map(([reason, count]) => `${String(count)} ${reason}`);
  return `excluded nodes: ${parts.join(", ")}`;
}

/** `2 of 4 ranks fit in the best rack "r1"`. */
export function shortfall(fitting: number, wanted: number, where: string): string {
  return `${String(fitting)} of ${String(wanted)} ranks fit in ${where}`;
}
