/** Makes the loop over deployments: each is looked at every interval of its own. */
import { Controller } from "../kube/controller.ts";
import type { Informer } from "../kube/informer.ts";
import { type CSPSDeployment, keyOf } from "../kube/object.ts";
import type { Telemetry } from "../kube/telemetry.ts";
import { WorkQueue } from "../kube/workqueue.ts";
import type { AutoscalerContext } from "./context.ts";
import { nameOf, scaleDeployment } from "./reconcile.ts";

const deadlineMs = 30_000;

export function registerAutoscaler(
  context: AutoscalerContext,
  deployments: Informer<CSPSDeployment>,
  telemetry: Telemetry,
): Controller {
  const queue = new WorkQueue({ name: "autoscaler", telemetry });
  deployments.handle({
    added: (deployment) => {
      queue.add(keyOf(deployment));
    },
    updated: (before, deployment) => {
      if (before.metadata.generation !== deployment.metadata.generation) queue.add(keyOf(deployment));
    },
    removed: (deployment) => {
      const { uid } = deployment.metadata;
      context.memories.forget(uid);
      context.notes.drop({ uid, key: keyOf(deployment) });
      context.meters.forget(nameOf(deployment));
      context.keeper.forget(uid);
    },
  });
  return new Controller({
    name: queue.name,
    queue,
    telemetry,
    concurrency: 8,
    deadlineMs,
    reconcile: async (key, signal) => {
      const deployment = context.deployments.get(key);
      if (deployment === undefined || deployment.metadata.deletionTimestamp !== undefined) return undefined;
      return scaleDeployment(context, deployment, signal);
    },
  });
}
