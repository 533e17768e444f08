/** `topology`: the tree of domains with what is free in each, and where groups lie. */
import { parseAmounts } from "../../planning/topology/quantity.ts";
import { hostLevel, levelIndex } from "../../planning/topology/level.ts";
import { ancestors, sumUp, type TopologyTree } from "../../planning/topology/tree.ts";
import type { ClusterSnapshot } from "../../planning/topology/snapshot.ts";
import { labelKey } from "../../ranks/names.ts";
import { isOver, nodeOf } from "../../ranks/podView.ts";
import { capacityView } from "../capacity.ts";
import { exitCode, UsageError } from "../exitCode.ts";
import type { Machines } from "../observe.ts";
import type { Report } from "../output/report.ts";
import { type Cell, type Paint, table } from "../output/table.ts";

export interface TopologyOptions {
  /** Counted resource, for example nvidia.com/gpu. */
  readonly resource: string;
  /** Show nothing narrower. */
  readonly level: string | undefined;
  readonly nowMs: () => number;
}

interface GroupHere {
  readonly namespace: string;
  readonly group: string;
  /** Ordinals of its ranks in the domain. */
  readonly ranks: readonly number[];
}

interface DomainReport {
  readonly level: string;
  readonly value: string;
  readonly nodes: number;
  readonly free: number;
  readonly total: number;
  /** At a host: groups with ranks there; elsewhere: groups for which this is the smallest domain that holds them. */
  readonly groups: readonly GroupHere[];
  readonly notes: readonly string[];
  readonly children: readonly DomainReport[];
}

export function topology(machines: Machines, options: TopologyOptions): Report {
  const { snapshot, tree } = capacityView(machines, options.nowMs).cluster([options.level]);
  const narrowest = narrowestLevel(tree, options.level);
  const root = describe({ machines, snapshot, tree, narrowest, resource: options.resource });
  return { data: root, text: (paint) => page(root, options.resource, paint), exit: exitCode.done };
}

function narrowestLevel(tree: TopologyTree, level: string | undefined): number {
  if (level === undefined) return 0;
  const index = levelIndex(tree.levels, level);
  if (index !== undefined && tree.domains.some((domain) => domain.level === index)) return index;
  const present = tree.levels.filter((_, at) => tree.domains.some((domain) => domain.level === at));
  const names = present.map((one) => one.name).join(", ");
  throw new UsageError(`no node has the level "${level}"; there are: ${names}`);
}

interface Sources {
  readonly machines: Machines;
  readonly snapshot: ClusterSnapshot;
  readonly tree: TopologyTree;
  readonly narrowest: number;
  readonly resource: string;
}

function describe({ machines, snapshot, tree, narrowest, resource }: Sources): DomainReport {
  const totals = new Map(
    machines.nodes.map((node) => [node.metadata.name, parseAmounts(node.status?.allocatable)[resource] ?? 0]),
  );
  const usable = (node: number): boolean => snapshot[node]?.ready === true && !snapshot[node].unschedulable;
  const free = sumUp(tree, (node) => (usable(node) ? Math.max(0, snapshot[node]?.free[resource] ?? 0) : 0));
  const total = sumUp(tree, (node) => totals.get(snapshot[node]?.name ?? "") ?? 0);
  const nodes = sumUp(tree, () => 1);
  const groups = groupsByDomain(machines, snapshot, tree);
  const report = (index: number): DomainReport => {
    const domain = tree.domains[index];
    const children = (domain?.children ?? [])
      .filter((child) => (tree.domains[child]?.level ?? 0) >= narrowest)
      .map(report)
      .sort((a, b) => (a.value < b.value ? -1 : 1));
    return {
      level: domain?.levelName ?? "",
      value: domain?.value ?? "",
      nodes: nodes[index] ?? 0,
      free: (free[index] ?? 0) / 1000,
      total: (total[index] ?? 0) / 1000,
      groups: groups.get(index) ?? [],
      notes: domain?.node === undefined ? [] : nodeNotes(snapshot, domain.node),
      children,
    };
  };
  return report(0);
}

function nodeNotes(snapshot: ClusterSnapshot, node: number): readonly string[] {
  const facts = snapshot[node];
  if (facts === undefined) return [];
  const taints = facts.taints.filter((taint) => taint.effect !== "PreferNoSchedule");
  return [
    ...(facts.ready ? [] : ["not ready"]),
    ...(facts.unschedulable ? ["unschedulable"] : []),
    ...taints.map((taint) => `taint ${taint.key}:${taint.effect}`),
  ];
}

/** Each group at the hosts of its ranks and, where these are several, at the smallest domain around them. */
function groupsByDomain(
  machines: Machines,
  snapshot: ClusterSnapshot,
  tree: TopologyTree,
): ReadonlyMap<number, readonly GroupHere[]> {
  const leafOf = new Map(snapshot.map((node, index) => [node.name, tree.leafOfNode[index] ?? 0]));
  const places = new Map<string, { readonly leaf: number; readonly ordinal: number }[]>();
  for (const pod of machines.pods) {
    const group = pod.metadata.labels?.[labelKey.group];
    const leaf = leafOf.get(nodeOf(pod) ?? "");
    if (group === undefined || leaf === undefined || isOver(pod)) continue;
    const key = `${pod.metadata.namespace ?? ""}/${group}`;
    const ordinal = Number(pod.metadata.labels?.[labelKey.rankOrdinal] ?? -1);
    places.set(key, [...(places.get(key) ?? []), { leaf, ordinal }]);
  }
  const found = new Map<number, GroupHere[]>();
  for (const [key, ranks] of [...places].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [namespace = "", group = ""] = key.split("/");
    const leaves = new Set(ranks.map((rank) => rank.leaf));
    for (const domain of new Set([...leaves, meeting(tree, [...leaves])])) {
      const here = ranks.filter((rank) => ancestors(tree, rank.leaf).includes(domain));
      const ordinals = here.map((rank) => rank.ordinal).sort((a, b) => a - b);
      found.set(domain, [...(found.get(domain) ?? []), { namespace, group, ranks: ordinals }]);
    }
  }
  return found;
}

/** The smallest domain that contains all. */
function meeting(tree: TopologyTree, leaves: readonly number[]): number {
  const [first = 0, ...others] = leaves;
  const chains = others.map((leaf) => new Set(ancestors(tree, leaf)));
  return ancestors(tree, first).find((index) => chains.every((chain) => chain.has(index))) ?? 0;
}

function page(root: DomainReport, resource: string, paint: Paint): string {
  const headings = ["DOMAIN", "NODES", `FREE ${resource}`, "OF", "GROUPS", "NOTES"];
  return table(headings, rows(root, 0), paint);
}

function rows(domain: DomainReport, depth: number): readonly (readonly Cell[])[] {
  const name = domain.value === "" ? domain.level : `${domain.level} ${domain.value}`;
  const groups = domain.groups.map(({ namespace, group, ranks }) => {
    const which = domain.level === hostLevel ? `rank ${ranks.join(", ")}` : `${String(ranks.length)} ranks`;
    return `${namespace}/${group} (${which})`;
  });
  const row: readonly Cell[] = [
    "  ".repeat(depth) + name,
    String(domain.nodes),
    { text: String(domain.free), tone: domain.free > 0 ? "good" : "plain" },
    String(domain.total),
    groups.join("; "),
    { text: domain.notes.join(", "), tone: "bad" },
  ];
  return [row, ...domain.children.flatMap((child) => rows(child, depth + 1))];
}
