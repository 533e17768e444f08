/**
 * Writes. An object is applied (server-side apply) by one field manager and its status by another; nothing is ever
 * replaced, so that fields of other writers live on.
 */
import type { ApiRequest, Query } from "./api-request.ts";
import type { Cluster } from "./cluster.ts";
import { isNotFound } from "./api-error.ts";
import type { Desired, KubeObject, ObjectMeta, Pod } from "./object.ts";
import { apiVersionOf, pathOf, pods, type Resource } from "./resource.ts";

export const fieldManager = "csps-operator";
export const statusFieldManager = "csps-operator-status";

/** An object by name; an object itself will do. */
export interface ObjectName {
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

export interface WriteOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ApplyOptions extends WriteOptions {
  /** Default: `csps-operator`. */
  readonly fieldManager?: string | undefined;
  /** Take over fields that another manager owns instead of failing with a conflict. Default: true. */
  readonly force?: boolean | undefined;
  /** Asks the server what the result would be, and changes nothing. */
  readonly dryRun?: boolean | undefined;
}

/** The parts of an object that one writer owns; what it applied before and leaves out now is removed. */
export type Applied<T extends KubeObject> = { metadata: Desired<T>["metadata"] } & {
  [Field in Exclude<keyof T, "metadata" | "apiVersion" | "kind">]?: T[Field];
};

/** Creates the object or brings it to what is stated. Throws ApiError; a conflict only without force. */
export function apply<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  object: Applied<T>,
  options: ApplyOptions = {},
): Promise<T> {
  return applyTo(cluster, resource, object, {
    ...options,
    fieldManager: options.fieldManager ?? fieldManager,
  });
}

/** Applies the status subresource. The object must exist. */
export function applyStatus<T extends KubeObject & { status?: unknown }>(
  cluster: Cluster,
  resource: Resource<T>,
  object: ObjectName & { status: NonNullable<T["status"]> },
  options: ApplyOptions = {},
): Promise<T> {
  const { name, namespace } = object.metadata;
  const metadata = namespace === undefined ? { name } : { name, namespace };
  const applied = { metadata, status: object.status } as unknown as Applied<T>;
  return applyTo(
    cluster,
    resource,
    applied,
    { ...options, fieldManager: options.fieldManager ?? statusFieldManager },
    "status",
  );
}

function applyTo<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  object: Applied<T>,
  options: ApplyOptions & { fieldManager: string },
  subresource?: string,
): Promise<T> {
  const { name, namespace } = object.metadata;
  return cluster.request<T>({
    method: "PATCH",
    path: pathOf(resource, { namespace, name, subresource }),
    query: {
      fieldManager: options.fieldManager,
      force: options.force ?? true,
      dryRun: options.dryRun === true ? "All" : undefined,
    },
    // The server reads apply patches as YAML, of which JSON is a part.
    contentType: "application/apply-patch+yaml",
    body: { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind },
    ...limits(options),
  });
}

/** Throws ApiError; `isAlreadyExists` when the name is taken. */
export function create<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  object: Applied<T>,
  options: WriteOptions & { fieldManager?: string } = {},
): Promise<T> {
  return cluster.request<T>({
    method: "POST",
    path: pathOf(resource, { namespace: object.metadata.namespace }),
    query: { fieldManager: options.fieldManager ?? fieldManager },
    body: { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind },
    ...limits(options),
  });
}

/** Reads past every cache; undefined when there is no such object. */
export async function get<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  target: ObjectName,
  options: WriteOptions = {},
): Promise<T | undefined> {
  try {
    return await cluster.request<T>({ path: pathOf(resource, target.metadata), ...limits(options) });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

export interface RemoveOptions extends WriteOptions {
  /** Only the object with this uid, not one that took its name since. */
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly gracePeriodSeconds?: number | undefined;
  /** Default: Background, dependents go after the object. */
  readonly propagation?: "Background" | "Foreground" | "Orphan" | undefined;
}

/** Deletes; an object that is gone already counts as deleted. A precondition that fails throws a conflict. */
export async function remove(
  cluster: Cluster,
  resource: Resource,
  target: ObjectName,
  options: RemoveOptions = {},
): Promise<void> {
  const preconditions = { uid: options.uid, resourceVersion: options.resourceVersion };
  try {
    await cluster.request({
      method: "DELETE",
      path: pathOf(resource, target.metadata),
      body: {
        apiVersion: "v1",
        kind: "DeleteOptions",
        preconditions,
        gracePeriodSeconds: options.gracePeriodSeconds,
        propagationPolicy: options.propagation ?? "Background",
      },
      ...limits(options),
    });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** JSON merge patch: null removes a field, an array is replaced as a whole. */
export function mergePatch<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  target: ObjectName,
  patch: object,
  options: WriteOptions & { subresource?: string } = {},
): Promise<T> {
  return sendPatch(cluster, resource, target, {
    contentType: "application/merge-patch+json",
    body: patch,
    options,
  });
}

export type JsonPatchStep =
  { op: "add" | "replace" | "test"; path: string; value: unknown } | { op: "remove"; path: string };

/** JSON patch; a `test` step that does not hold makes the server refuse the whole patch (`isInvalid`). */
export function jsonPatch<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  target: ObjectName,
  patch: readonly JsonPatchStep[],
  options: WriteOptions & { subresource?: string } = {},
): Promise<T> {
  return sendPatch(cluster, resource, target, {
    contentType: "application/json-patch+json",
    body: patch,
    options,
  });
}

function sendPatch<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  target: ObjectName,
  patch: { contentType: string; body: object; options: WriteOptions & { subresource?: string } },
): Promise<T> {
  const query: Query = { fieldManager };
  const { subresource } = patch.options;
  return cluster.request<T>({
    method: "PATCH",
    path: pathOf(resource, { ...target.metadata, subresource }),
    query,
    contentType: patch.contentType,
    body: patch.body,
    ...limits(patch.options),
  });
}

/** The finalizers of an object as it was read, one more or one less. A change in between throws a conflict. */
export function setFinalizer<T extends KubeObject>(
  cluster: Cluster,
  resource: Resource<T>,
  object: { metadata: ObjectMeta },
  change: { readonly name: string; readonly present: boolean },
): Promise<T> {
  const others = (object.metadata.finalizers ?? []).filter((finalizer) => finalizer !== change.name);
  const finalizers = change.present ? [...others, change.name] : others;
  const { resourceVersion } = object.metadata;
  return mergePatch(cluster, resource, object, { metadata: { finalizers, resourceVersion } });
}

/**
 * Removes one scheduling gate from a pod, if it is there. A pod's gates can only be removed, never applied, and other
 * gates may stand beside this one; the test step guards against a list that changed.
 */
export async function ungate(
  cluster: Cluster,
  pod: Pod,
  gate: string,
  options: WriteOptions = {},
): Promise<Pod> {
  const gates = pod.spec?.schedulingGates ?? [];
  const index = gates.findIndex(({ name }) => name === gate);
  if (index < 0) return pod;
  const path = `/spec/schedulingGates/${String(index)}`;
  const steps: JsonPatchStep[] = [
    { op: "test", path: `${path}/name`, value: gate },
    { op: "remove", path },
  ];
  return jsonPatch(cluster, pods, pod, steps, options);
}

function limits(options: WriteOptions): Pick<ApiRequest, "timeoutMs" | "signal"> {
  return { timeoutMs: options.timeoutMs, signal: options.signal };
}
