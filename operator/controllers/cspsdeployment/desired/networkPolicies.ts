/** Who may reach the ranks and the state store: their own deployment and the operator, nobody else. */
import type { Desired } from "../../../kube/object.ts";
import {
  appName,
  childName,
  controlPort,
  labelKey,
  ownLabels,
  podLabels,
  rankComponent,
  redisPort,
} from "../../../ranks/names.ts";
import type { DeploymentDesign } from "./deploymentDesign.ts";
import type { IngressRule, NetworkPolicy, PolicyPeer, Selector } from "./otherKinds.ts";

export function desiredNetworkPolicies(design: DeploymentDesign): Desired<NetworkPolicy>[] {
  const control = [{ protocol: "TCP" as const, port: controlPort }];
  const ranks = policy(design, {
    name: childName.ranksService(design.name),
    subject: rankSelector(design),
    ingress: [
      // Collectives choose their ports freely.
      { from: [{ podSelector: rankSelector(design) }] },
      { from: [gatewayPeer(design), operatorPeer(design), ...scrapers(design)], ports: control },
    ],
  });
  if (design.spec.stateStore.mode === "External") return [ranks];
  const state = policy(design, {
    name: childName.state(design.name),
    subject: { matchLabels: podLabels(design.name, "state") },
    ingress: [
      {
        from: [{ podSelector: rankSelector(design) }, gatewayPeer(design), operatorPeer(design)],
        ports: [{ protocol: "TCP", port: redisPort }],
      },
    ],
  });
  return [ranks, state];
}

function rankSelector(design: DeploymentDesign): Selector {
  return { matchLabels: { [labelKey.deployment]: design.name, [labelKey.component]: rankComponent } };
}

function gatewayPeer(design: DeploymentDesign): PolicyPeer {
  return { podSelector: { matchLabels: podLabels(design.name, "gateway") } };
}

function operatorPeer(design: DeploymentDesign): PolicyPeer {
  return {
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": design.operatorNamespace } },
    podSelector: { matchLabels: { [labelKey.name]: appName, [labelKey.component]: "operator" } },
  };
}

/** They reach the control port, whose verbs ask for a token that they don't have; /metrics does not. */
function scrapers({ scrapeNamespaces }: DeploymentDesign): PolicyPeer[] {
  return scrapeNamespaces.map((name) => ({
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
  }));
}

function policy(
  design: DeploymentDesign,
  rule: { name: string; subject: Selector; ingress: readonly IngressRule[] },
): Desired<NetworkPolicy> {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: {
      name: rule.name,
      namespace: design.namespace,
      labels: ownLabels(design.name, "network"),
      ownerReferences: [design.owner],
    },
    spec: { podSelector: rule.subject, policyTypes: ["Ingress"], ingress: rule.ingress },
  };
}
