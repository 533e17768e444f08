/** Kubernetes objects as they stand on the wire: plain JSON, times as RFC 3339 strings. */
import type {
  EventsV1Event,
  V1ConfigMap,
  V1Deployment,
  V1Lease,
  V1Namespace,
  V1Node,
  V1PersistentVolumeClaim,
  V1Pod,
  V1Secret,
  V1Service,
  V1StatefulSet,
} from "@kubernetes/client-node";
import type { RoleScalerSpec, RoleScalerStatus } from "../../crds/schema/autoscaling.ts";
import type { CSPSDeploymentSpec, CSPSDeploymentStatus } from "../../crds/schema/cspsdeployment.ts";
import type { DecodePoolSpec, GangStatus, SPGroupSpec } from "../../crds/schema/rankgroup.ts";

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** What a writer states about an object; the server adds the rest. */
export interface DesiredMeta {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
}

export interface ObjectMeta extends DesiredMeta {
  uid: string;
  resourceVersion: string;
  creationTimestamp: string;
  generation?: number;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  managedFields?: unknown[];
}

/** Any object as the API server returns it. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** An object as a writer states it: `T` with metadata that the server has not completed. */
export type Desired<T extends KubeObject> = Omit<T, "metadata"> & { metadata: DesiredMeta };

/** client-node's generated model, with its Date fields as the strings that the wire carries. */
export type Json<T> = T extends Date
  ? string
  : T extends (infer Item)[]
    ? Json<Item>[]
    : T extends object
      ? { [Field in keyof T]: Json<T[Field]> }
      : T;

type BuiltIn<T> = KubeObject & Omit<Json<T>, keyof KubeObject>;

export type Pod = BuiltIn<V1Pod>;
export type Service = BuiltIn<V1Service>;
export type Secret = BuiltIn<V1Secret>;
export type ConfigMap = BuiltIn<V1ConfigMap>;
export type Namespace = BuiltIn<V1Namespace>;
export type Node = BuiltIn<V1Node>;
export type PersistentVolumeClaim = BuiltIn<V1PersistentVolumeClaim>;
export type Deployment = BuiltIn<V1Deployment>;
export type StatefulSet = BuiltIn<V1StatefulSet>;
export type Lease = BuiltIn<V1Lease>;
export type Event = BuiltIn<EventsV1Event>;

export type CSPSDeployment = KubeObject & { spec: CSPSDeploymentSpec; status?: CSPSDeploymentStatus };
export type SPGroup = KubeObject & { spec: SPGroupSpec; status?: GangStatus };
export type DecodePool = KubeObject & { spec: DecodePoolSpec; status?: GangStatus };
export type RoleScaler = KubeObject & { spec: RoleScalerSpec; status?: RoleScalerStatus };

/** The key that caches and work queues use: `namespace/name`, or `name` at cluster scope. */
export function keyOf(object: { metadata: DesiredMeta }): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** The inverse of keyOf. */
export function splitKey(key: string): { namespace?: string; name: string } {
  const slash = key.indexOf("/");
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** The one owner that controls the object, if any. */
export function controllerOf(object: { metadata: DesiredMeta }): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((owner) => owner.controller === true);
}

/** A controlling owner reference to `owner`; its deletion waits for the dependent's. */
export function ownedBy(owner: KubeObject): OwnerReference {
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
  };
}
