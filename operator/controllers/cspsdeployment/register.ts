/** Which changes wake the reconciler of CSPSDeployments. */
import { Controller } from "../../kube/controller.ts";
import type { Informer } from "../../kube/informer.ts";
import { controllerOf, type CSPSDeployment, keyOf, type KubeObject } from "../../kube/object.ts";
import type { Telemetry } from "../../kube/telemetry.ts";
import { WorkQueue } from "../../kube/workqueue.ts";
import { sameAsJson } from "../../planning/status/records.ts";
import { tellingRefusals } from "../../ranks/tellingRefusals.ts";
import type { DeploymentContext } from "./context.ts";
import { reconcileDeployment } from "./reconcile.ts";

export interface DeploymentSources {
  readonly deployments: Informer<CSPSDeployment>;
  /** Everything that a deployment owns directly; only what is watched here is put right when somebody changes it. */
  readonly owned: readonly Informer<KubeObject>[];
}

export function registerDeployments(
  context: DeploymentContext,
  sources: DeploymentSources,
  telemetry: Telemetry,
): Controller {
  const queue = new WorkQueue({ name: "cspsdeployment", telemetry });
  const addOwner = (object: KubeObject): void => {
    const owner = controllerOf(object);
    if (owner?.kind === "CSPSDeployment") queue.add(`${object.metadata.namespace ?? ""}/${owner.name}`);
  };
  const add = (object: CSPSDeployment): void => {
    queue.add(keyOf(object));
  };
  // Its own status write would wake it for nothing: what it reads of itself is spec, metadata and the counts in force.
  sources.deployments.handle({
    added: add,
    updated: (before, after) => {
      const rescaled = !sameAsJson(before.status?.scale, after.status?.scale);
      if (before.metadata.generation !== after.metadata.generation || rescaled || isGoing(after)) add(after);
    },
  });
  context.notes.onChange((key) => {
    queue.add(key);
  });
  for (const informer of sources.owned) {
    informer.handle({
      added: addOwner,
      updated: (_, after) => {
        addOwner(after);
      },
      removed: addOwner,
    });
  }
  return new Controller({
    name: queue.name,
    queue,
    telemetry,
    concurrency: 2,
    reconcile: async (key) => {
      const deployment = context.deployments.get(key);
      if (deployment === undefined) return undefined;
      return tellingRefusals(context.events, deployment, () => reconcileDeployment(context, deployment));
    },
  });
}

function isGoing(object: KubeObject): boolean {
  return object.metadata.deletionTimestamp !== undefined;
}
