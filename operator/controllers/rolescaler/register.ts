/** Which changes wake the reconciler of RoleScalers. Its keys are those of deployments. */
import { Controller } from "../../kube/controller.ts";
import type { Informer } from "../../kube/informer.ts";
import { controllerOf, type CSPSDeployment, keyOf, type KubeObject, type Pod } from "../../kube/object.ts";
import type { Telemetry } from "../../kube/telemetry.ts";
import { WorkQueue } from "../../kube/workqueue.ts";
import { sameAsJson } from "../../planning/status/records.ts";
import { labelKey } from "../../ranks/names.ts";
import { tellingRefusals } from "../../ranks/tellingRefusals.ts";
import type { RoleScalerContext } from "./context.ts";
import { reconcileScalers } from "./reconcile.ts";

export interface RoleScalerSources {
  readonly deployments: Informer<CSPSDeployment>;
  /** RoleScalers and SPGroups: what a count is read from. */
  readonly owned: readonly Informer<KubeObject>[];
  readonly pods: Informer<Pod>;
}

export function registerRoleScalers(
  context: RoleScalerContext,
  sources: RoleScalerSources,
  telemetry: Telemetry,
): Controller {
  const queue = new WorkQueue({ name: "rolescaler", telemetry });
  const isExternal = (key: string): boolean =>
    context.deployments.get(key)?.spec.autoscaling.mode === "External";
  const addOwner = (object: KubeObject): void => {
    const owner = controllerOf(object);
    const key = `${object.metadata.namespace ?? ""}/${owner?.name ?? ""}`;
    if (owner?.kind === "CSPSDeployment" && isExternal(key)) queue.add(key);
  };
  const addDeploymentOf = (pod: Pod): void => {
    const name = pod.metadata.labels?.[labelKey.deployment];
    const key = `${pod.metadata.namespace ?? ""}/${name ?? ""}`;
    if (name !== undefined && isExternal(key)) queue.add(key);
  };
  sources.deployments.handle({
    added: (deployment) => {
      queue.add(keyOf(deployment));
    },
    updated: (before, after) => {
      const rescaled = !sameAsJson(before.status?.scale, after.status?.scale);
      if (before.metadata.generation !== after.metadata.generation || rescaled) queue.add(keyOf(after));
    },
  });
  for (const informer of sources.owned) {
    informer.handle({
      added: addOwner,
      updated: (before, after) => {
        if (before.metadata.generation !== after.metadata.generation) addOwner(after);
      },
      removed: addOwner,
    });
  }
  sources.pods.handle({ added: addDeploymentOf, removed: addDeploymentOf });
  return new Controller({
    name: queue.name,
    queue,
    telemetry,
    reconcile: async (key) => {
      const deployment = context.deployments.get(key);
      if (deployment === undefined || deployment.metadata.deletionTimestamp !== undefined) return undefined;
      return tellingRefusals(context.events, deployment, () => reconcileScalers(context, deployment));
    },
  });
}
