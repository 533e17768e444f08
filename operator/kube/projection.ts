/** What the caches keep of an object: with 15,000 nodes and as many pods, fields that nobody reads cost gigabytes. */
import type { KubeObject, Node, ObjectMeta, Pod } from "./object.ts";

/** Drops the record of who owns which field, often half of an object. */
export function slim<T extends KubeObject>(object: T): T {
  return { ...object, metadata: slimMeta(object.metadata) };
}

function slimMeta(metadata: ObjectMeta): ObjectMeta {
  const { managedFields: _, annotations, ...rest } = metadata;
  if (annotations === undefined) return rest;
  const { "kubectl.kubernetes.io/last-applied-configuration": __, ...kept } = annotations;
  return { ...rest, annotations: kept };
}

type PodSpec = NonNullable<Pod["spec"]>;
type PodStatus = NonNullable<Pod["status"]>;
type Container = PodSpec["containers"][number];

/** Keeps of a pod who it is, where it runs, what it asks for and how it fares. */
export function slimPod(pod: Pod): Pod {
  return {
    apiVersion: pod.apiVersion,
    kind: pod.kind,
    metadata: slimMeta(pod.metadata),
    ...(pod.spec === undefined ? {} : { spec: slimPodSpec(pod.spec) }),
    ...(pod.status === undefined ? {} : { status: slimPodStatus(pod.status) }),
  };
}

function slimPodSpec(spec: PodSpec): PodSpec {
  return {
    ...pick(spec, ["nodeName", "hostname", "subdomain", "schedulingGates", "priority", "overhead"]),
    containers: spec.containers.map(slimContainer),
    ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(slimContainer) }),
  };
}

function slimContainer(container: Container): Container {
  return pick(container, ["name", "image", "ports", "resources", "restartPolicy"]);
}

function slimPodStatus(status: PodStatus): PodStatus {
  return pick(status, [
    "phase",
    "reason",
    "message",
    "podIP",
    "hostIP",
    "startTime",
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
  ]);
}

/** Keeps of a node its labels, taints, capacity and conditions; drops images and addresses. */
export function slimNode(node: Node): Node {
  return {
    apiVersion: node.apiVersion,
    kind: node.kind,
    metadata: slimMeta(node.metadata),
    ...(node.spec === undefined ? {} : { spec: pick(node.spec, ["taints", "unschedulable"]) }),
    ...(node.status === undefined ? {} : { status: pick(node.status, ["allocatable", "conditions"]) }),
  };
}

/** The named fields that are there. */
function pick<T extends object, Field extends keyof T>(source: T, fields: readonly Field[]): Pick<T, Field> {
  const present = fields.filter((field) => source[field] !== undefined);
  return Object.fromEntries(present.map((field) => [field, source[field]])) as Pick<T, Field>;
}
