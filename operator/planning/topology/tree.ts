/**
 * The topology as an immutable tree with dense indexes: domains[0] is the cluster, leaves are nodes. Scratch
 * data of a planning cycle lives in arrays by domain index beside it.
 *
 * A node that lacks a label hangs below the next broader domain it does have: a missing label never equals
 * another missing label, so two unlabelled nodes are never taken to share a rack.
 */
import { clusterLevel, hostLevel, type Level } from "./level.ts";
import type { ClusterSnapshot, NodeFacts } from "./snapshot.ts";

export interface Domain {
  readonly index: number;
  /** Index into the tree's levels; levels.length for the cluster. */
  readonly level: number;
  /** Name of the level, for sentences. */
  readonly levelName: string;
  /** Label value; the node's name for a host. */
  readonly value: string;
  /** -1 for the cluster. */
  readonly parent: number;
  readonly children: readonly number[];
  /** Index into the snapshot, for a host only. */
  readonly node: number | undefined;
}

export interface TopologyTree {
  readonly levels: readonly Level[];
  readonly domains: readonly Domain[];
  /** Domain index of each node of the snapshot. */
  readonly leafOfNode: readonly number[];
}

type Draft = { -readonly [K in keyof Domain]: Domain[K] } & { children: number[] };

export function topologyTree(snapshot: ClusterSnapshot, levels: readonly Level[]): TopologyTree {
  const root: Draft = draft({ level: levels.length, levelName: clusterLevel.name, value: "", parent: -1 }, 0);
  const domains: Draft[] = [root];
  const childByKey = new Map<string, Draft>();
  const leafOfNode = snapshot.map((node, nodeIndex) => {
    let parent = root;
    for (let level = levels.length - 1; level >= 0; level--) {
      const value = labelValue(node, levels[level]);
      if (value === undefined) continue;
      const key = `${String(parent.index)} ${String(level)} ${value}`;
      let child = childByKey.get(key);
      if (child === undefined) {
        const levelName = levels[level]?.name ?? "";
        child = draft({ level, levelName, value, parent: parent.index }, domains.length);
        domains.push(child);
        childByKey.set(key, child);
        parent.children.push(child.index);
      }
      parent = child;
    }
    parent.node = nodeIndex;
    return parent.index;
  });
  return { levels, domains, leafOfNode };
}

function draft(fields: Pick<Domain, "level" | "levelName" | "value" | "parent">, index: number): Draft {
  return { ...fields, index, children: [], node: undefined };
}

function labelValue(node: NodeFacts, level: Level | undefined): string | undefined {
  if (level?.name === hostLevel) return node.name;
  const key = level?.keys.find((name) => (node.labels[name] ?? "") !== "");
  return key === undefined ? undefined : node.labels[key];
}

/** The domain and all that contain it, narrow to broad. */
export function ancestors(tree: TopologyTree, index: number): readonly number[] {
  const chain: number[] = [];
  for (let at = index; at >= 0; at = tree.domains[at]?.parent ?? -1) chain.push(at);
  return chain;
}

/** Sums a per-node number up the tree; returns an array by domain index. */
export function sumUp(tree: TopologyTree, perNode: (node: number) => number): readonly number[] {
  const totals = new Array<number>(tree.domains.length).fill(0);
  // A child's index is greater than its parent's, so going down the indexes visits children first.
  for (let index = tree.domains.length - 1; index >= 0; index--) {
    const domain = tree.domains[index];
    if (domain === undefined) continue;
    const own = domain.node === undefined ? 0 : perNode(domain.node);
    totals[index] = (totals[index] ?? 0) + own;
    if (domain.parent >= 0) totals[domain.parent] = (totals[domain.parent] ?? 0) + (totals[index] ?? 0);
  }
  return totals;
}

/** `rack "r1"`, or `the cluster`. */
export function domainName(domain: Domain): string {
  return domain.parent < 0 ? "the cluster" : `${domain.levelName} "${domain.value}"`;
}
