/** The two RoleScalers of a deployment, and the counts that their replicas come to within its bounds. */
import type { CSPSDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import { type CSPSDeployment, type Desired, ownedBy, type RoleScaler } from "../../kube/object.ts";
import { nothingLearned, profileOf } from "../../planning/autoscaling/learn.ts";
import { scalingPolicy } from "../../planning/autoscaling/policy.ts";
import type { Size } from "../../planning/scaling/decision.ts";
import { fitSize, type Fitted } from "../../planning/scaling/fit.ts";
import { ownLabels, podLabels } from "../../ranks/names.ts";

export const scalerRoles = ["prefill", "decode"] as const;
export type ScalerRole = (typeof scalerRoles)[number];

export function scalerName(deployment: string, role: ScalerRole): string {
  return `${deployment}-${role}`;
}

export function countOf(size: Size, role: ScalerRole): number {
  return role === "prefill" ? size.groups : size.decodeRanks;
}

/** As it is made: with the count in force, so that nothing changes by its being there. */
export function desiredScaler(deployment: CSPSDeployment, role: ScalerRole, size: Size): Desired<RoleScaler> {
  const { name, namespace = "" } = deployment.metadata;
  return {
    apiVersion: "csps.io/v1alpha1",
    kind: "RoleScaler",
    metadata: {
      name: scalerName(name, role),
      namespace,
      labels: ownLabels(name, role),
      ownerReferences: [ownedBy(deployment)],
    },
    spec: { deployment: name, role, replicas: countOf(size, role) },
  };
}

/** Selector of the role's pods in the form that /scale carries. */
export function scalerSelector(deployment: string, role: ScalerRole): string {
  return Object.entries(podLabels(deployment, role))
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(",");
}

/** Replicas as counts, within bounds, ratio and budget; what had to be changed is named. */
export function fitReplicas(
  spec: CSPSDeploymentSpec,
  present: Size,
  replicas: Readonly<Record<ScalerRole, number>>,
): Fitted {
  const { name, attentionHeads, keyValueHeads } = spec.model;
  const tensorDegree = spec.prefill.tensorParallel.degree;
  const facts = { name, attentionHeads, keyValueHeads, tensorDegree, kvTokensOfRank: 0 };
  const wished = { ...present, groups: replicas.prefill, decodeRanks: replicas.decode };
  return fitSize(profileOf(nothingLearned, facts), scalingPolicy(spec).bounds, present, wished);
}
