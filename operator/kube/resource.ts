/** The API resources that the operator touches, and the request paths that address them. */
import type {
  ConfigMap,
  CSPSDeployment,
  DecodePool,
  Deployment,
  Event,
  KubeObject,
  Lease,
  Namespace,
  Node,
  PersistentVolumeClaim,
  Pod,
  RoleScaler,
  Secret,
  Service,
  SPGroup,
  StatefulSet,
} from "./object.ts";

export interface Resource<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Never set: it only ties the object's type to its resource. */
  readonly object?: T;
}

export const pods: Resource<Pod> = core("Pod", "pods");
export const services: Resource<Service> = core("Service", "services");
export const secrets: Resource<Secret> = core("Secret", "secrets");
export const configMaps: Resource<ConfigMap> = core("ConfigMap", "configmaps");
export const namespaces: Resource<Namespace> = { ...core("Namespace", "namespaces"), namespaced: false };
export const nodes: Resource<Node> = { ...core("Node", "nodes"), namespaced: false };
export const persistentVolumeClaims: Resource<PersistentVolumeClaim> = core(
  "PersistentVolumeClaim",
  "persistentvolumeclaims",
);
export const deployments: Resource<Deployment> = grouped("apps", "v1", "Deployment", "deployments");
export const statefulSets: Resource<StatefulSet> = grouped("apps", "v1", "StatefulSet", "statefulsets");
export const leases: Resource<Lease> = grouped("coordination.k8s.io", "v1", "Lease", "leases");
export const events: Resource<Event> = grouped("events.k8s.io", "v1", "Event", "events");
export const cspsDeployments: Resource<CSPSDeployment> = grouped(
  "csps.io",
  "v1alpha1",
  "CSPSDeployment",
  "cspsdeployments",
);
export const spGroups: Resource<SPGroup> = grouped("csps.io", "v1alpha1", "SPGroup", "spgroups");
export const decodePools: Resource<DecodePool> = grouped("csps.io", "v1alpha1", "DecodePool", "decodepools");
export const roleScalers: Resource<RoleScaler> = grouped("csps.io", "v1alpha1", "RoleScaler", "rolescalers");

function core<T extends KubeObject>(kind: string, plural: string): Resource<T> {
  return grouped("", "v1", kind, plural);
}

function grouped<T extends KubeObject>(
  group: string,
  version: string,
  kind: string,
  plural: string,
): Resource<T> {
  return { group, version, kind, plural, namespaced: true };
}

export function apiVersionOf(resource: Resource): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

export interface ResourceAddress {
  /** Absent: every namespace, or a resource at cluster scope. */
  readonly namespace?: string | undefined;
  /** Absent: the collection. */
  readonly name?: string | undefined;
  /** For example `status`. */
  readonly subresource?: string | undefined;
}

/** Path of a collection, of an object, or of a subresource of an object. */
export function pathOf(resource: Resource, address: ResourceAddress = {}): string {
  const segments =
    resource.group === "" ? ["api", resource.version] : ["apis", resource.group, resource.version];
  if (resource.namespaced && address.namespace !== undefined) segments.push("namespaces", address.namespace);
  segments.push(resource.plural);
  if (address.name !== undefined) segments.push(address.name);
  if (address.subresource !== undefined) segments.push(address.subresource);
  return `/${segments.map(encodeURIComponent).join("/")}`;
}
