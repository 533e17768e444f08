/** Whether the state store of a deployment answers, as a condition. */
import type { DeploymentFindings } from "../../planning/status/deploymentConditions.ts";
import type { DeploymentContext } from "./context.ts";
import type { DeploymentDesign } from "./desired/deploymentDesign.ts";
import type { StoreAccess } from "./desired/secrets.ts";
import type { Observed } from "./observe.ts";

const probeDeadlineMs = 2_000;

export async function probeStore(
  context: DeploymentContext,
  design: DeploymentDesign,
  step: { readonly observed: Observed; readonly access: StoreAccess | undefined },
): Promise<DeploymentFindings["stateStore"]> {
  const { mode, urlSecret } = design.spec.stateStore;
  if (step.access === undefined) {
    const message = `secret ${urlSecret?.name ?? ""} has no key ${urlSecret?.key ?? "url"}`;
    return { status: "False", reason: "Unreachable", message };
  }
  if (mode === "Bundled" && !step.observed.storeReady) {
    return { status: "False", reason: "Unreachable", message: "the bundled Redis is not ready" };
  }
  const deployment = `${design.namespace}/${design.name}`;
  const failure = await context.stateStore.probe({ ...step.access, deployment, deadlineMs: probeDeadlineMs });
  return failure === undefined
    ? { status: "True", reason: "Answering", message: "the state store answers" }
    : { status: "False", reason: "Unreachable", message: failure };
}
