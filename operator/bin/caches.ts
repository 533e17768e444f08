/** The caches of the operator: one informer per kind that it reads. */
import type { Cluster } from "../kube/cluster.ts";
import { Informer } from "../kube/informer.ts";
import type { KubeObject, Pod } from "../kube/object.ts";
import { slim, slimNode, slimPod } from "../kube/projection.ts";
import {
  cspsDeployments,
  decodePools,
  deployments,
  nodes,
  pods,
  roleScalers,
  type Resource,
  services,
  spGroups,
  statefulSets,
} from "../kube/resource.ts";
import { byNode, byOwner, type IndexBy } from "../kube/store.ts";
import {
  disruptionBudgets,
  networkPolicies,
  serviceAccounts,
} from "../controllers/cspsdeployment/desired/otherKinds.ts";
import { podIndex } from "../ranks/context.ts";
import { labelKey, managedBy } from "../ranks/names.ts";

export type Caches = ReturnType<typeof createCaches>;

const byDeployment: IndexBy<Pod> = (pod) => {
  const name = pod.metadata.labels?.[labelKey.deployment];
  return name === undefined ? [] : [`${pod.metadata.namespace ?? ""}/${name}`];
};

/** `namespace`: where deployments are looked for; undefined: everywhere. Nodes and pods are always seen whole. */
export function createCaches(cluster: Cluster, namespace: string | undefined) {
  const labelSelector = `${labelKey.managedBy}=${managedBy}`;
  const ours = <T extends KubeObject>(resource: Resource<T>): Informer<T> =>
    new Informer<T>({
      cluster,
      resource,
      namespace,
      labelSelector,
      project: slim,
      indexes: { owner: byOwner },
    });
  return {
    nodes: new Informer({ cluster, resource: nodes, project: slimNode }),
    // Other workloads' pods take room on the nodes too.
    pods: new Informer({
      cluster,
      resource: pods,
      project: slimPod,
      indexes: { [podIndex.owner]: byOwner, [podIndex.deployment]: byDeployment, [podIndex.node]: byNode },
    }),
    deployments: new Informer({ cluster, resource: cspsDeployments, namespace, project: slim }),
    groups: ours(spGroups),
    pools: ours(decodePools),
    scalers: ours(roleScalers),
    services: ours(services),
    workloads: ours(deployments),
    statefulSets: ours(statefulSets),
    serviceAccounts: ours(serviceAccounts),
    networkPolicies: ours(networkPolicies),
    disruptionBudgets: ours(disruptionBudgets),
  };
}

/** What a deployment owns directly, by kind. */
export function ownedInformers(
  caches: Caches,
): ReadonlyMap<string, { resource: Resource; informer: Informer<KubeObject> }> {
  const owned: readonly (readonly [Resource, unknown])[] = [
    [spGroups, caches.groups],
    [decodePools, caches.pools],
    [services, caches.services],
    [deployments, caches.workloads],
    [statefulSets, caches.statefulSets],
    [serviceAccounts, caches.serviceAccounts],
    [networkPolicies, caches.networkPolicies],
    [disruptionBudgets, caches.disruptionBudgets],
  ];
  // An informer of a kind is read as one of any object here: nothing is written through it.
  return new Map(
    owned.map(([resource, informer]) => [
      resource.kind,
      { resource, informer: informer as Informer<KubeObject> },
    ]),
  );
}
