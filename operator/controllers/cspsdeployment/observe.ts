/** What there is of a deployment: its gangs, its gateway, its state store. */
import type { DecodePool, Desired, SPGroup } from "../../kube/object.ts";
import { nodeIsReady } from "../../planning/topology/snapshot.ts";
import type { RolloutGang } from "../../planning/rollout/rollout.ts";
import type { GangSummary } from "../../planning/status/deploymentConditions.ts";
import { podIndex } from "../../ranks/context.ts";
import { childName, labelKey } from "../../ranks/names.ts";
import { rankPodView } from "../../ranks/podView.ts";
import type { RankPod } from "../../planning/gang/observed.ts";
import type { DeploymentContext } from "./context.ts";
import type { DeploymentDesign } from "./desired/deploymentDesign.ts";

export type Gang = SPGroup | DecodePool;

export interface Observed {
  readonly groups: readonly SPGroup[];
  readonly pool: DecodePool | undefined;
  readonly gatewayReady: number;
  readonly storeReady: boolean;
}

/** Index of gang and workload stores by the uid of the owning deployment. */
export const ownerIndex = "owner";

export function observeDeployment(context: DeploymentContext, design: DeploymentDesign): Observed {
  const { uid } = design.owner;
  const groups = context.groups
    .byIndex(ownerIndex, uid)
    .filter((group) => group.metadata.deletionTimestamp === undefined)
    .sort((a, b) => a.spec.ordinal - b.spec.ordinal);
  const key = `${design.namespace}/${childName.gateway(design.name)}`;
  const store = context.statefulSets.get(`${design.namespace}/${childName.state(design.name)}`);
  return {
    groups,
    pool: context.pools.byIndex(ownerIndex, uid)[0],
    gatewayReady: context.workloads.get(key)?.status?.readyReplicas ?? 0,
    storeReady: (store?.status?.readyReplicas ?? 0) > 0,
  };
}

export function rolloutGang(desired: Desired<Gang>, present: Gang | undefined): RolloutGang {
  return {
    name: desired.metadata.name,
    revision: present?.spec.revision,
    desiredRevision: desired.spec.revision,
    available: present !== undefined && isCurrent(present) && isAvailable(present),
  };
}

export function summarize(gang: Gang, role: GangSummary["role"]): GangSummary {
  return {
    name: gang.metadata.name,
    role,
    ranks: gang.spec.ranks,
    ranksReady: gang.status?.ranksReady ?? 0,
    current: isCurrent(gang),
    conditions: gang.status?.conditions ?? [],
  };
}

function isCurrent(gang: Gang): boolean {
  return gang.status?.observedGeneration === gang.metadata.generation;
}

function isAvailable(gang: Gang): boolean {
  return gang.status?.conditions?.some((one) => one.type === "Available" && one.status === "True") ?? false;
}

const lostNodeMs = 30_000;

/**
 * State store pods that a lost node can't let go. A StatefulSet makes no successor before the old pod is gone for
 * certain; this store keeps nothing, so its pod may be struck without that certainty.
 */
export function stuckStorePods(context: DeploymentContext, design: DeploymentDesign): readonly RankPod[] {
  const sources = { node: (name: string) => context.nodes.get(name), nowMs: context.nowMs() };
  return context.pods
    .byIndex(podIndex.deployment, `${design.namespace}/${design.name}`)
    .filter((pod) => pod.metadata.labels?.[labelKey.role] === "state")
    .filter((pod) => {
      const node = context.nodes.get(pod.spec?.nodeName ?? "");
      return node === undefined || !nodeIsReady(node);
    })
    .map((pod) => rankPodView(pod, sources))
    .filter((pod) => (pod.deletingForMs ?? 0) >= lostNodeMs);
}
