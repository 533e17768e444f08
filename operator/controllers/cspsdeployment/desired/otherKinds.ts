/** Kinds that are written and never read closely. */
import type { KubeObject } from "../../../kube/object.ts";
import type { Resource } from "../../../kube/resource.ts";

export type ServiceAccount = KubeObject & { automountServiceAccountToken: boolean };

export interface Selector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { key: string; operator: string; values: readonly string[] }[];
}

export type DisruptionBudget = KubeObject & { spec: { maxUnavailable: number; selector: Selector } };

export interface PolicyPeer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
}

export interface IngressRule {
  readonly from: readonly PolicyPeer[];
  readonly ports?: readonly { protocol: "TCP"; port: number }[];
}

export type NetworkPolicy = KubeObject & {
  spec: { podSelector: Selector; policyTypes: readonly ["Ingress"]; ingress: readonly IngressRule[] };
};

export const serviceAccounts: Resource<ServiceAccount> = {
  group: "",
  version: "v1",
  kind: "ServiceAccount",
  plural: "serviceaccounts",
  namespaced: true,
};

export const disruptionBudgets: Resource<DisruptionBudget> = {
  group: "policy",
  version: "v1",
  kind: "PodDisruptionBudget",
  plural: "poddisruptionbudgets",
  namespaced: true,
};

export const networkPolicies: Resource<NetworkPolicy> = {
  group: "networking.k8s.io",
  version: "v1",
  kind: "NetworkPolicy",
  plural: "networkpolicies",
  namespaced: true,
};
