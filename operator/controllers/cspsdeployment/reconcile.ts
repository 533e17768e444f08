/** One reconcile of a CSPSDeployment, as sentences. */
import { ZodError, z } from "zod";
import type { CSPSDeploymentStatus } from "../../../crds/schema/cspsdeployment.ts";
import { isNotFound } from "../../kube/api-error.ts";
import { applyStatus, remove } from "../../kube/apply.ts";
import { type ReconcileOutcome, TerminalError } from "../../kube/controller.ts";
import type { CSPSDeployment } from "../../kube/object.ts";
import { cspsDeployments, pods } from "../../kube/resource.ts";
import { isAsleep } from "../../planning/autoscaling/force.ts";
import { planRollout, type RolloutPlan } from "../../planning/rollout/rollout.ts";
import { sameStatus } from "../../ranks/gangStatus.ts";
import { applyOwned, removeOwned } from "./applyOwned.ts";
import type { DeploymentContext } from "./context.ts";
import { deploymentDesign, type DeploymentDesign } from "./desired/deploymentDesign.ts";
import { desiredGateway } from "./desired/gateway.ts";
import { desiredGroups, desiredPool } from "./desired/gangs.ts";
import { desiredNetworkPolicies } from "./desired/networkPolicies.ts";
import { desiredRankService } from "./desired/rankService.ts";
import { desiredStateStore } from "./desired/stateStore.ts";
import { ensureFinalizer, finalizeDeployment } from "./finalize.ts";
import { observeDeployment, type Observed, rolloutGang, stuckStorePods } from "./observe.ts";
import { probeStore } from "./probeStore.ts";
import { ensureSecrets } from "./secrets.ts";
import { deploymentStatus, invalidStatus, ownStatus, tellDeployment } from "./status.ts";

const settledMs = 30_000;
const unsettledMs = 5_000;

export async function reconcileDeployment(
  context: DeploymentContext,
  deployment: CSPSDeployment,
): Promise<ReconcileOutcome | undefined> {
  // 1 An object that is going away is only let go.
  if (deployment.metadata.deletionTimestamp !== undefined) {
    await finalizeDeployment(context, deployment);
    return undefined;
  }
  const design = await designOf(context, deployment);
  await ensureFinalizer(context, deployment);
  // 2 Everything that the gangs rely on comes before them.
  const access = await ensureSecrets(context, design);
  await applyOwned(context, [
    desiredRankService(design),
    ...desiredNetworkPolicies(design),
    ...desiredStateStore(design),
    ...desiredGateway(design),
  ]);
  // 3 Gangs: new ones at once, changed ones in turn, surplus ones away.
  const rollout = await applyGangs(context, design);
  await releaseStuckPods(context, design);
  // 4 Report.
  const observed = observeDeployment(context, design);
  const stateStore = await probeStore(context, design, { observed, access });
  const now = new Date(context.nowMs()).toISOString();
  const note = context.notes.of(deployment.metadata.uid);
  const status = deploymentStatus(deployment, design, { observed, rollout, stateStore, note, now });
  tellDeployment(context, deployment, status);
  if (!sameStatus(ownStatus(deployment.status), status)) await writeStatus(context, deployment, status);
  return { requeueAfterMs: status.reason === "Serving" ? settledMs : unsettledMs };
}

async function designOf(context: DeploymentContext, deployment: CSPSDeployment): Promise<DeploymentDesign> {
  try {
    return deploymentDesign(deployment, context.surroundings);
  } catch (error) {
    if (!(error instanceof ZodError)) throw error;
    const message = z.prettifyError(error);
    const status = invalidStatus(deployment, message, new Date(context.nowMs()).toISOString());
    await writeStatus(context, deployment, status);
    throw new TerminalError(`The spec is invalid: ${message}`);
  }
}

async function writeStatus(
  context: DeploymentContext,
  { metadata }: CSPSDeployment,
  status: CSPSDeploymentStatus,
): Promise<void> {
  try {
    await applyStatus(context.cluster, cspsDeployments, { metadata, status });
  } catch (error) {
    // It was deleted while it was looked at: there is nobody left to tell.
    if (!isNotFound(error)) throw error;
  }
}

async function applyGangs(context: DeploymentContext, design: DeploymentDesign): Promise<RolloutPlan> {
  const present: Observed = observeDeployment(context, design);
  const existing = [...present.groups, ...(present.pool === undefined ? [] : [present.pool])];
  const desired = [...desiredGroups(design), ...(isAsleep(design.spec) ? [] : [desiredPool(design)])];
  const rollout = planRollout(
    desired.map((gang) => {
      const same = existing.find((one) => one.metadata.name === gang.metadata.name);
      return rolloutGang(gang, same);
    }),
  );
  await applyOwned(
    context,
    desired.filter((gang) => rollout.write.includes(gang.metadata.name)),
  );
  const surplus = present.groups.filter((group) => group.spec.ordinal >= design.spec.prefill.groups);
  const idlePool = isAsleep(design.spec) && present.pool !== undefined ? [present.pool] : [];
  await removeOwned(context, [...surplus, ...idlePool]);
  return rollout;
}

async function releaseStuckPods(context: DeploymentContext, design: DeploymentDesign): Promise<void> {
  for (const pod of stuckStorePods(context, design)) {
    const target = { metadata: { namespace: design.namespace, name: pod.rankId } };
    await remove(context.cluster, pods, target, { uid: pod.uid, gracePeriodSeconds: 0 });
  }
}
