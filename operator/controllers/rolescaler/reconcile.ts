/** RoleScalers of one deployment: there in External mode only; their replicas become its counts in force. */
import { type CSPSDeploymentSpec, cspsDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import { isAlreadyExists } from "../../kube/api-error.ts";
import { applyStatus, create, remove } from "../../kube/apply.ts";
import type { CSPSDeployment, RoleScaler } from "../../kube/object.ts";
import { roleScalers } from "../../kube/resource.ts";
import { sizeInForce } from "../../planning/autoscaling/force.ts";
import type { Size } from "../../planning/scaling/decision.ts";
import { sameAsJson } from "../../planning/status/records.ts";
import { podIndex } from "../../ranks/context.ts";
import { labelKey } from "../../ranks/names.ts";
import { writeScale } from "../../ranks/scale.ts";
import type { RoleScalerContext } from "./context.ts";
import {
  countOf,
  desiredScaler,
  fitReplicas,
  scalerName,
  type ScalerRole,
  scalerRoles,
  scalerSelector,
} from "./desired.ts";

export async function reconcileScalers(
  context: RoleScalerContext,
  deployment: CSPSDeployment,
): Promise<undefined> {
  const spec = cspsDeploymentSpec.safeParse(deployment.spec).data;
  // A spec that can't be read is the deployment's own reconciler's to tell.
  if (spec === undefined) return undefined;
  const present = context.scalers.byIndex("owner", deployment.metadata.uid);
  if (spec.autoscaling.mode !== "External") {
    for (const one of present) await remove(context.cluster, roleScalers, one, { uid: one.metadata.uid });
    return undefined;
  }
  const size = sizeInForce(spec, deployment.status?.scale);
  const scalers = await ensureScalers(context, deployment, size);
  // Made just now: the cache will show them, and wake this again.
  if (scalers === undefined) return undefined;
  const { prefill, decode } = scalers;
  const fitted = fitReplicas(spec, size, { prefill: prefill.spec.replicas, decode: decode.spec.replicas });
  await scaleTo(context, deployment, { spec, size: fitted.size });
  const refused = fitted.refusals.map(({ sentence }) => sentence).join("; ");
  for (const role of scalerRoles) {
    const scaler = scalers[role];
    const differs = scaler.spec.replicas !== countOf(fitted.size, role);
    await report(context, deployment, { scaler, role, message: differs ? refused : "" });
  }
  return undefined;
}

/** A scaler is made once and its replicas never written again: they are the HPA's. */
async function ensureScalers(
  context: RoleScalerContext,
  deployment: CSPSDeployment,
  size: Size,
): Promise<Readonly<Record<ScalerRole, RoleScaler>> | undefined> {
  const { name, namespace = "", uid } = deployment.metadata;
  const find = (role: ScalerRole): RoleScaler | undefined =>
    context.scalers.get(`${namespace}/${scalerName(name, role)}`);
  const [prefill, decode] = [find("prefill"), find("decode")];
  for (const role of scalerRoles) {
    const known = find(role);
    if (known !== undefined && !known.metadata.ownerReferences?.some((owner) => owner.uid === uid))
      throw new Error(`RoleScaler ${known.metadata.name} exists and is not owned by this deployment`);
    if (known !== undefined) continue;
    try {
      await create(context.cluster, roleScalers, desiredScaler(deployment, role, size));
    } catch (error) {
      // The cache is late.
      if (!isAlreadyExists(error)) throw error;
    }
  }
  return prefill === undefined || decode === undefined ? undefined : { prefill, decode };
}

async function scaleTo(
  context: RoleScalerContext,
  deployment: CSPSDeployment,
  { spec, size }: { readonly spec: CSPSDeploymentSpec; readonly size: Size },
): Promise<void> {
  const from = deployment.status?.scale;
  const to = { groups: size.groups, degree: size.groupSize, decodeRanks: size.decodeRanks };
  if (!(await writeScale(context.cluster, deployment, { from, to }))) return;
  const before = sizeInForce(spec, from);
  const note = `prefill groups ${before.groups} to ${to.groups}, decode ranks ${before.decodeRanks} to ${to.decodeRanks}`;
  if (before.groups === to.groups && before.decodeRanks === to.decodeRanks) return;
  const event = {
    regarding: deployment,
    type: "Normal",
    reason: "ScaledExternally",
    action: "Scale",
  } as const;
  context.events.record({ ...event, note });
}

async function report(
  context: RoleScalerContext,
  { metadata }: CSPSDeployment,
  about: { readonly scaler: RoleScaler; readonly role: ScalerRole; readonly message: string },
): Promise<void> {
  const { scaler, role, message } = about;
  const status = {
    replicas: presentOf(context, metadata, role),
    selector: scalerSelector(metadata.name, role),
    ...(message === "" ? {} : { message }),
  };
  if (sameAsJson(scaler.status, status)) return;
  await applyStatus(context.cluster, roleScalers, { metadata: scaler.metadata, status });
}

/** Groups that are not going away, or rank pods of the pool that are not. */
function presentOf(
  context: RoleScalerContext,
  { uid, name, namespace = "" }: CSPSDeployment["metadata"],
  role: ScalerRole,
): number {
  const stays = ({ metadata }: { metadata: { deletionTimestamp?: string } }): boolean =>
    metadata.deletionTimestamp === undefined;
  if (role === "prefill") return context.groups.byIndex("owner", uid).filter(stays).length;
  return context.pods
    .byIndex(podIndex.deployment, `${namespace}/${name}`)
    .filter((pod) => stays(pod) && pod.metadata.labels?.[labelKey.role] === "decode").length;
}
