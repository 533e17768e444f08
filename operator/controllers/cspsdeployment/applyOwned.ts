/** Writes desired objects, and only when they differ from what was written last. */
import { apply, type Applied, remove } from "../../kube/apply.ts";
import { controllerOf, type Desired, keyOf, type KubeObject } from "../../kube/object.ts";
import type { Resource } from "../../kube/resource.ts";
import type { DeploymentContext } from "./context.ts";
import { revisionOf } from "./desired/deploymentDesign.ts";

/** Hash of the desired object that was applied last; kept on the object, so that a restart rewrites nothing. */
export const appliedAnnotation = "csps.io/applied";

export async function applyOwned(
  context: DeploymentContext,
  objects: readonly Desired<KubeObject>[],
): Promise<void> {
  for (const object of objects) {
    const kind = context.owned.get(object.kind);
    if (kind === undefined) throw new Error(`Objects of kind ${object.kind} are not watched`);
    await applyChanged(context, kind.resource, { object, present: kind.store.get(keyOf(object)) });
  }
}

export async function applyChanged(
  context: DeploymentContext,
  resource: Resource,
  { object, present }: { readonly object: Desired<KubeObject>; readonly present: KubeObject | undefined },
): Promise<void> {
  const hash = revisionOf(object);
  refuseForeign(object, present);
  if (present?.metadata.annotations?.[appliedAnnotation] === hash) return;
  const annotations = { ...object.metadata.annotations, [appliedAnnotation]: hash };
  const applied = { ...object, metadata: { ...object.metadata, annotations } } as Applied<KubeObject>;
  await apply(context.cluster, resource, applied);
}

/** An object of the same name that belongs to somebody else is never taken over. */
function refuseForeign(object: Desired<KubeObject>, present: KubeObject | undefined): void {
  const owner = present === undefined ? undefined : controllerOf(present);
  const wanted = controllerOf(object);
  if (present === undefined || owner?.uid === wanted?.uid) return;
  throw new Error(`${object.kind} ${keyOf(object)} exists and is not owned by this deployment`);
}

export async function removeOwned(context: DeploymentContext, objects: readonly KubeObject[]): Promise<void> {
  for (const object of objects) {
    const kind = context.owned.get(object.kind);
    if (kind !== undefined)
      await remove(context.cluster, kind.resource, object, { uid: object.metadata.uid });
  }
}
