/** A CSPSDeployment made ready for the builders: defaults filled in, images resolved. */
import { createHash } from "node:crypto";
import { cspsDeploymentSpec, type CSPSDeploymentSpec } from "../../../../crds/schema/cspsdeployment.ts";
import { withSizeInForce } from "../../../planning/autoscaling/force.ts";
import type { CSPSDeployment, OwnerReference } from "../../../kube/object.ts";
import { ownedBy } from "../../../kube/object.ts";

/** Images that are taken where the spec names none. */
export interface DefaultImages {
  readonly gateway: string;
  readonly engineCpu: string;
  readonly engineCuda: string;
  readonly redis: string;
}

/** What a design depends on beside its object: how the operator itself was installed. */
export interface Surroundings {
  readonly images: DefaultImages;
  /** Namespace that the operator's own pods run in, for network policies. */
  readonly operatorNamespace: string;
  /** Namespaces whose pods may scrape ranks. */
  readonly scrapeNamespaces: readonly string[];
}

export interface DeploymentDesign {
  readonly name: string;
  readonly namespace: string;
  readonly owner: OwnerReference;
  /** With the counts in force, which may be the autoscaler's. */
  readonly spec: CSPSDeploymentSpec;
  readonly engineImage: string;
  readonly gatewayImage: string;
  readonly redisImage: string;
  readonly operatorNamespace: string;
  readonly scrapeNamespaces: readonly string[];
}

/** Throws a ZodError for a spec that the CRD's own rules would have refused. */
export function deploymentDesign(
  deployment: CSPSDeployment,
  { images, operatorNamespace, scrapeNamespaces }: Surroundings,
): DeploymentDesign {
  const spec = withSizeInForce(cspsDeploymentSpec.parse(deployment.spec), deployment.status?.scale);
  const engineDefault = spec.engine.backend === "cuda" ? images.engineCuda : images.engineCpu;
  return {
    name: deployment.metadata.name,
    namespace: deployment.metadata.namespace ?? "",
    owner: ownedBy(deployment),
    spec,
    engineImage: spec.engine.image ?? engineDefault,
    gatewayImage: spec.gateway.image ?? images.gateway,
    redisImage: spec.stateStore.image ?? images.redis,
    operatorNamespace,
    scrapeNamespaces,
  };
}

/** Ten hex digits that stand for a value; equal values give equal hashes whatever the order of keys. */
export function revisionOf(value: unknown): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex").slice(0, 10);
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
