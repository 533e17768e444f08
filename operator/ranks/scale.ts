/** Writes the counts in force, `status.scale` of a deployment, under a field manager that owns nothing else. */
import type { Scale } from "../../crds/schema/autoscaling.ts";
import { isNotFound } from "../kube/api-error.ts";
import { applyStatus } from "../kube/apply.ts";
import type { Cluster } from "../kube/cluster.ts";
import type { CSPSDeployment } from "../kube/object.ts";
import { cspsDeployments } from "../kube/resource.ts";
import { sameAsJson } from "../planning/status/records.ts";

/** Another writer of the status can't take the scale away, and this one takes nothing else. */
export const scaleFieldManager = "csps-operator-scale";
const writeMs = 10_000;

/** Undefined takes it away. Returns whether there was anything to write. */
export async function writeScale(
  cluster: Cluster,
  { metadata }: Pick<CSPSDeployment, "metadata">,
  change: { readonly from: Scale | undefined; readonly to: Scale | undefined },
): Promise<boolean> {
  if (sameAsJson(change.from, change.to)) return false;
  const status = change.to === undefined ? {} : { scale: change.to };
  const options = { fieldManager: scaleFieldManager, timeoutMs: writeMs };
  try {
    await applyStatus(cluster, cspsDeployments, { metadata, status }, options);
  } catch (error) {
    // It was deleted while it was looked at.
    if (!isNotFound(error)) throw error;
  }
  return true;
}
