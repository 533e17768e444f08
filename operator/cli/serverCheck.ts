/** Asks the API server what it makes of a manifest, in a dry run: rules between fields are its own. */
import { ApiError, isForbidden, isInvalid, isNotFound } from "../kube/api-error.ts";
import { apply } from "../kube/apply.ts";
import type { Cluster } from "../kube/cluster.ts";
import type { CSPSDeployment } from "../kube/object.ts";
import { cspsDeployments } from "../kube/resource.ts";
import { FileError } from "./exitCode.ts";

/** A sentence when the server could not check; undefined when it takes the manifest. Throws FileError when not. */
export async function checkByServer(
  cluster: Cluster,
  { metadata, spec }: CSPSDeployment,
): Promise<string | undefined> {
  const { name, namespace } = metadata;
  const target = namespace === undefined ? { name } : { name, namespace };
  try {
    await apply<CSPSDeployment>(
      cluster,
      cspsDeployments,
      { metadata: target, spec },
      { dryRun: true, fieldManager: "kubectl-csps" },
    );
    return undefined;
  } catch (error) {
    if (isInvalid(error)) throw new FileError(`CSPSDeployment "${name}" is not valid:\n  ${mistakes(error)}`);
    if (!(error instanceof ApiError) || !(isNotFound(error) || isForbidden(error))) throw error;
    return `rules between fields were not checked: ${error.body?.message ?? error.message}`;
  }
}

function mistakes(error: unknown): string {
  if (!(error instanceof ApiError)) return String(error);
  const causes = error.body?.details?.causes ?? [];
  if (causes.length === 0) return error.body?.message ?? error.message;
  return causes.map((cause) => `${cause.field ?? "?"}: ${cause.message ?? "refused"}`).join("\n  ");
}
