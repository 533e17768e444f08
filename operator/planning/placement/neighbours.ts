/** How a candidate domain lies to the pods of other groups: spread from siblings, near to peers. */
import { ancestors, type Domain } from "../topology/tree.ts";
import type { Cluster } from "./cluster.ts";

/** Sibling groups that would share the candidate's failure domain: its rack, or itself where racks are unknown. */
export function failureDomains(
  cluster: Cluster,
  candidate: Domain,
  siblings: readonly (readonly string[])[],
): number {
  const rack = ancestors(cluster.tree, candidate.index).find(
    (index) => cluster.tree.domains[index]?.levelName === "rack",
  );
  const domain = rack ?? candidate.index;
  return siblings.filter((nodes) => nodes.some((name) => chainOf(cluster, name).includes(domain))).length;
}

/** Level of the narrowest domain that holds the candidate and a peer: 0 is the same host. No peers: 0 for all. */
export function nearness(cluster: Cluster, candidate: Domain, peers: readonly string[]): number {
  if (peers.length === 0) return 0;
  const around = ancestors(cluster.tree, candidate.index);
  const distances = peers.map((name) => {
    const chain = new Set(chainOf(cluster, name));
    const meeting = around.find((index) => chain.has(index)) ?? 0;
    return cluster.tree.domains[meeting]?.level ?? cluster.tree.levels.length;
  });
  return Math.min(...distances);
}

function chainOf(cluster: Cluster, nodeName: string): readonly number[] {
  const node = cluster.snapshot.findIndex((one) => one.name === nodeName);
  return node < 0 ? [] : ancestors(cluster.tree, cluster.tree.leafOfNode[node] ?? 0);
}
