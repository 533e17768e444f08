/** The SPGroups and the DecodePool of a deployment. */
import type { DecodePool, Desired, SPGroup } from "../../../kube/object.ts";
import { childName, ownLabels } from "../../../ranks/names.ts";
import { type DeploymentDesign, revisionOf } from "./deploymentDesign.ts";

type Common = Pick<
  SPGroup["spec"],
  "deployment" | "model" | "engine" | "stateStoreSecret" | "controlTokenSecret"
>;

export function desiredGroups(design: DeploymentDesign): Desired<SPGroup>[] {
  return Array.from({ length: design.spec.prefill.groups }, (_, ordinal) => desiredGroup(design, ordinal));
}

function desiredGroup(design: DeploymentDesign, ordinal: number): Desired<SPGroup> {
  const { prefill } = design.spec;
  const { degree, minDegree = 1, mode } = prefill.sequenceParallel;
  const shape = {
    ...common(design),
    tensorParallel: prefill.tensorParallel,
    rank: prefill.rank,
    mode,
    sparseAttention: prefill.sparseAttention,
  };
  return {
    apiVersion: "csps.io/v1alpha1",
    kind: "SPGroup",
    metadata: {
      name: childName.prefillGroup(design.name, ordinal),
      namespace: design.namespace,
      labels: ownLabels(design.name, "prefill"),
      ownerReferences: [design.owner],
    },
    spec: { ...shape, ordinal, ranks: degree, minRanks: minDegree, revision: revisionOf(shape) },
  };
}

export function desiredPool(design: DeploymentDesign): Desired<DecodePool> {
  const { decode } = design.spec;
  const { sparseAttention } = decode;
  const shape = {
    ...common(design),
    tensorParallel: decode.tensorParallel,
    rank: decode.rank,
    ...(decode.kvCacheMemory === undefined ? {} : { kvCacheMemory: decode.kvCacheMemory }),
    // Part of the pods only where it is on: a section that changes nothing must replace none.
    ...(sparseAttention.mode === "Enabled" && { sparseAttention }),
  };
  return {
    apiVersion: "csps.io/v1alpha1",
    kind: "DecodePool",
    metadata: {
      name: childName.decodePool(design.name),
      namespace: design.namespace,
      labels: ownLabels(design.name, "decode"),
      ownerReferences: [design.owner],
    },
    // How KV is moved is no part of the pods: changing it must replace none.
    spec: {
      ...shape,
      ranks: decode.ranks,
      minRanks: decode.minRanks ?? 1,
      revision: revisionOf(shape),
      sparseAttention,
      rebalance: decode.rebalance,
    },
  };
}

function common(design: DeploymentDesign): Common {
  const { model, engine } = design.spec;
  return {
    deployment: design.name,
    model,
    engine: { ...engine, image: design.engineImage },
    stateStoreSecret: childName.state(design.name),
    controlTokenSecret: childName.controlToken(design.name),
  };
}
