/** The cluster as planning sees it: nodes with what is free on them. Built from objects of the API by shape. */
import { addAmounts, type Amounts, parseAmounts } from "./quantity.ts";
import { podRequest, type PodSpecView } from "./podRequest.ts";

export interface Taint {
  readonly key: string;
  readonly value?: string;
  readonly effect: string;
}

/** The part of a Kubernetes Node that planning reads. */
export interface NodeView {
  readonly metadata?: { readonly name?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec?: { readonly unschedulable?: boolean; readonly taints?: readonly Taint[] };
  readonly status?: {
    readonly allocatable?: Readonly<Record<string, string>>;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** A pod that takes room: the node it is bound or pinned to, and what its containers ask for. */
export interface PodOnNode {
  readonly node: string;
  readonly spec: PodSpecView;
}

export interface NodeFacts {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly unschedulable: boolean;
  readonly ready: boolean;
  /** Allocatable minus requested, in thousandths; may be negative on an overcommitted node. */
  readonly free: Amounts;
}

/** Nodes sorted by name, so that equal clusters give equal snapshots. */
export type ClusterSnapshot = readonly NodeFacts[];

export function nodeIsReady(node: NodeView): boolean {
  return node.status?.conditions?.some((one) => one.type === "Ready" && one.status === "True") ?? false;
}

/** `pods`: every pod of the cluster that has a node and is not over, other workloads' included. */
export function clusterSnapshot(nodes: readonly NodeView[], pods: readonly PodOnNode[]): ClusterSnapshot {
  const requested = new Map<string, Amounts>();
  for (const pod of pods) {
    requested.set(pod.node, addAmounts(requested.get(pod.node) ?? {}, podRequest(pod.spec)));
  }
  return nodes
    .map((node) => nodeFacts(node, requested.get(node.metadata?.name ?? "") ?? {}))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function nodeFacts(node: NodeView, requested: Amounts): NodeFacts {
  const free: Record<string, number> = { ...parseAmounts(node.status?.allocatable) };
  for (const [resource, amount] of Object.entries(requested)) free[resource] = (free[resource] ?? 0) - amount;
  return {
    name: node.metadata?.name ?? "",
    labels: node.metadata?.labels ?? {},
    taints: node.spec?.taints ?? [],
    unschedulable: node.spec?.unschedulable ?? false,
    ready: nodeIsReady(node),
    free,
  };
}
