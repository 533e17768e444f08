/** Spreads ranks over the nodes of one domain so that they touch as few sub-domains as can be. */
import type { Domain, TopologyTree } from "../topology/tree.ts";

/**
 * Node indexes, one per rank, grouped by sub-domain: rank i and i+1 lie as near as the domain allows.
 * `room`: ranks that fit, by domain index; the domain must have room for all.
 */
export function assignNodes(
  tree: TopologyTree,
  domain: Domain,
  ranks: number,
  room: readonly number[],
): readonly number[] {
  if (domain.node !== undefined) return new Array<number>(ranks).fill(domain.node);
  const children = domain.children
    .flatMap((index) => tree.domains[index] ?? [])
    .filter((child) => (room[child.index] ?? 0) > 0)
    .sort((a, b) => (room[b.index] ?? 0) - (room[a.index] ?? 0) || (a.value < b.value ? -1 : 1));
  const nodes: number[] = [];
  let left = ranks;
  for (const [index, child] of children.entries()) {
    if (left === 0) break;
    const space = room[child.index] ?? 0;
    if (space >= left) {
      nodes.push(...assignNodes(tree, tightest(children.slice(index), left, room) ?? child, left, room));
      left = 0;
    } else {
      nodes.push(...assignNodes(tree, child, space, room));
      left -= space;
    }
  }
  return nodes;
}

/** The last share goes where the least is left over, so that roomy domains stay whole; then the name decides. */
function tightest(open: readonly Domain[], ranks: number, room: readonly number[]): Domain | undefined {
  const holding = open.filter((domain) => (room[domain.index] ?? 0) >= ranks);
  const least = Math.min(...holding.map((domain) => room[domain.index] ?? 0));
  return holding.find((domain) => (room[domain.index] ?? 0) === least);
}
