/** Lets a deployment go: its keys leave an external state store first, within a deadline. */
import { isNotFound } from "../../kube/api-error.ts";
import { get, setFinalizer } from "../../kube/apply.ts";
import type { CSPSDeployment } from "../../kube/object.ts";
import { cspsDeployments, secrets } from "../../kube/resource.ts";
import { childName } from "../../ranks/names.ts";
import type { DeploymentContext } from "./context.ts";
import { storeAccess } from "./desired/secrets.ts";

export const stateFinalizer = "csps.io/state";
const clearDeadlineMs = 10_000;

/** Only an external store outlives the deployment; the bundled one goes with it, so nothing waits for that. */
export async function ensureFinalizer(context: DeploymentContext, deployment: CSPSDeployment): Promise<void> {
  const wanted = deployment.spec.stateStore.mode === "External";
  const present = deployment.metadata.finalizers?.includes(stateFinalizer) ?? false;
  if (wanted && !present) {
    await setFinalizer(context.cluster, cspsDeployments, deployment, { name: stateFinalizer, present: true });
  }
}

/** Never throws because of the store: a dead Redis must not keep an object from being deleted. */
export async function finalizeDeployment(
  context: DeploymentContext,
  deployment: CSPSDeployment,
): Promise<void> {
  const key = `${deployment.metadata.namespace ?? ""}/${deployment.metadata.name}`;
  if (deployment.metadata.finalizers?.includes(stateFinalizer) === true) {
    const failure = await clearKeys(context, deployment, key);
    if (failure !== undefined) {
      context.events.record({
        regarding: deployment,
        type: "Warning",
        reason: "StateNotCleared",
        action: "Finalize",
        note: `keys csps:{${key}}:* may remain in the state store: ${failure}`,
      });
    }
    await dropFinalizer(context, deployment);
  }
  await context.stateStore.release(key);
}

/** Read anew: clearing took its time, and a conflict would make it begin again. */
async function dropFinalizer(context: DeploymentContext, deployment: CSPSDeployment): Promise<void> {
  const fresh = await get(context.cluster, cspsDeployments, deployment);
  if (fresh?.metadata.uid !== deployment.metadata.uid) return;
  try {
    await setFinalizer(context.cluster, cspsDeployments, fresh, { name: stateFinalizer, present: false });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function clearKeys(
  context: DeploymentContext,
  deployment: CSPSDeployment,
  key: string,
): Promise<string | undefined> {
  if (deployment.spec.stateStore.mode !== "External") return undefined;
  const { namespace = "", name } = deployment.metadata;
  try {
    const target = { metadata: { namespace, name: childName.state(name) } };
    const access = storeAccess(await get(context.cluster, secrets, target, { timeoutMs: 5_000 }), "url");
    if (access === undefined) return "the secret with its URL is gone";
    return await context.stateStore.clear({ ...access, deployment: key, deadlineMs: clearDeadlineMs });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
