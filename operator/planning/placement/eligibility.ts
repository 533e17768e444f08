/** Whether a node may hold a rank, and how many: ordered predicates, each with the words for its refusal. */
import type { Amounts } from "../topology/quantity.ts";
import type { NodeFacts, Taint } from "../topology/snapshot.ts";

export interface Toleration {
  readonly key?: string | undefined;
  readonly operator?: string | undefined;
  readonly value?: string | undefined;
  readonly effect?: string | undefined;
}

/** What placement must know of a rank's pod. */
export interface RankShape {
  /** In thousandths, `pods` included. */
  readonly request: Amounts;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly Toleration[];
}

export interface NodeFit {
  /** Ranks that the node can take now. */
  readonly ranks: number;
  /** Why it takes none; empty when it takes one or more. Several lacking resources give several. */
  readonly exclusions: readonly string[];
}

type Predicate = (node: NodeFacts, shape: RankShape) => string | undefined;

/** The first refusal counts, as in kube-scheduler; taints come before resources. */
const predicates: readonly Predicate[] = [
  (node) => (node.ready ? undefined : "not ready"),
  (node) => (node.unschedulable ? "unschedulable" : undefined),
  (node, shape) =>
    Object.entries(shape.nodeSelector).every(([key, value]) => node.labels[key] === value)
      ? undefined
      : "node selector mismatch",
  (node, shape) => {
    const taint = node.taints.find((one) => repels(one) && !shape.tolerations.some((t) => tolerates(t, one)));
    return taint === undefined ? undefined : `untolerated taint ${taintName(taint)}`;
  },
];

export function nodeFit(node: NodeFacts, shape: RankShape): NodeFit {
  for (const predicate of predicates) {
    const refusal = predicate(node, shape);
    if (refusal !== undefined) return { ranks: 0, exclusions: [refusal] };
  }
  const wanted = Object.entries(shape.request).filter(([, amount]) => amount > 0);
  const counts = wanted.map(([name, amount]) => ({
    name,
    ranks: Math.floor((node.free[name] ?? 0) / amount),
  }));
  const lacking = counts.filter((count) => count.ranks < 1);
  if (lacking.length > 0) return { ranks: 0, exclusions: lacking.map(({ name }) => shortage(name)) };
  return { ranks: Math.min(...counts.map((count) => count.ranks), Number.MAX_SAFE_INTEGER), exclusions: [] };
}

function shortage(resource: string): string {
  return resource === "pods" ? "too many pods" : `insufficient ${resource}`;
}

function repels(taint: Taint): boolean {
  return taint.effect === "NoSchedule" || taint.effect === "NoExecute";
}

function tolerates(toleration: Toleration, taint: Taint): boolean {
  const { key = "", operator = "Equal", value = "", effect = "" } = toleration;
  if (effect !== "" && effect !== taint.effect) return false;
  if (key === "") return operator === "Exists";
  return key === taint.key && (operator === "Exists" || value === (taint.value ?? ""));
}

function taintName(taint: Taint): string {
  return (taint.value ?? "") === "" ? `{${taint.key}}` : `{${taint.key}: ${taint.value ?? ""}}`;
}
