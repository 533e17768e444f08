/** Reads CSPSDeployments and nodes from files, and says what is wrong with them: field, value, rule. */
import { loadAll } from "js-yaml";
import { cspsDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import type { CSPSDeployment, Node, Pod } from "../kube/object.ts";
import { cspsDeployments } from "../kube/resource.ts";
import { FileError } from "./exitCode.ts";
import type { Machines } from "./observe.ts";

interface Document {
  readonly apiVersion?: unknown;
  readonly kind?: unknown;
  readonly metadata?: { readonly name?: unknown; readonly namespace?: unknown; readonly uid?: unknown };
  readonly spec?: unknown;
  readonly items?: unknown;
}

/** `namespace`: of objects that name none. Throws FileError with a line for each mistake. */
export function parseDeployments(
  text: string,
  { path, namespace }: { path: string; namespace: string },
): readonly CSPSDeployment[] {
  const found = documents(text, path).filter((one) => one.kind === cspsDeployments.kind);
  if (found.length === 0) throw new FileError(`${path} holds no ${cspsDeployments.kind}`);
  return found.map((document) => deployment(document, { path, namespace }));
}

function deployment(
  document: Document,
  { path, namespace }: { path: string; namespace: string },
): CSPSDeployment {
  const { name, namespace: own } = document.metadata ?? {};
  if (typeof name !== "string" || name === "")
    throw new FileError(`${path} is not valid:\n  metadata.name is missing`);
  const wanted = `${cspsDeployments.group}/${cspsDeployments.version}`;
  const mistakes = [
    ...(document.apiVersion === wanted
      ? []
      : [`apiVersion is ${shown(document.apiVersion)}: must be ${wanted}`]),
    ...specMistakes(document.spec),
  ];
  if (mistakes.length > 0)
    throw new FileError(`CSPSDeployment "${name}" in ${path} is not valid:\n  ${mistakes.join("\n  ")}`);
  return {
    apiVersion: wanted,
    kind: cspsDeployments.kind,
    // What only a server gives: the planned object has none of it yet.
    metadata: {
      name,
      namespace: typeof own === "string" ? own : namespace,
      uid: "",
      resourceVersion: "",
      creationTimestamp: "",
    },
    spec: cspsDeploymentSpec.parse(document.spec),
  };
}

function specMistakes(spec: unknown): readonly string[] {
  const parsed = cspsDeploymentSpec.safeParse(spec ?? {});
  if (parsed.success) return unknownFields(spec, parsed.data, "spec");
  return parsed.error.issues.map((issue) => {
    const value = issue.path.reduce<unknown>((at, key) => field(at, key), spec);
    return `${fieldPath(["spec", ...issue.path])} is ${shown(value)}: ${issue.message}`;
  });
}

/** The schema drops what it does not know, where the API server would refuse it: mostly a misspelt field. */
function unknownFields(given: unknown, taken: unknown, path: string): readonly string[] {
  if (typeof given !== "object" || given === null || typeof taken !== "object" || taken === null) return [];
  return Object.entries(given).flatMap(([key, value]) => {
    const inner = `${path}.${key}`;
    return key in taken
      ? unknownFields(value, field(taken, key), inner)
      : [`${inner} is ${shown(value)}: there is no such field`];
  });
}

function field(object: unknown, key: PropertyKey): unknown {
  return typeof object === "object" && object !== null
    ? (object as Record<PropertyKey, unknown>)[key]
    : undefined;
}

function fieldPath(keys: readonly PropertyKey[]): string {
  return keys
    .map((key, at) => (typeof key === "number" ? `[${String(key)}]` : `${at > 0 ? "." : ""}${String(key)}`))
    .join("");
}

function shown(value: unknown): string {
  if (value === undefined) return "missing";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Nodes, and pods that take room on them: what `kubectl get nodes,pods -A -o yaml` prints. */
export function parseMachines(text: string, path: string): Machines {
  const found = documents(text, path);
  const nodes = found.filter((one) => one.kind === "Node");
  if (nodes.length === 0) throw new FileError(`${path} holds no Node`);
  for (const [index, node] of nodes.entries()) {
    if (typeof node.metadata?.name !== "string")
      throw new FileError(`${path}: metadata.name of node ${String(index)} is missing`);
  }
  return {
    nodes: nodes as unknown as Node[],
    pods: found.filter((one) => one.kind === "Pod") as unknown as Pod[],
  };
}

/** All documents of the file, those of lists one by one. */
function documents(text: string, path: string): readonly Document[] {
  let loaded: unknown[];
  try {
    loaded = loadAll(text);
  } catch (error) {
    throw new FileError(`${path} is not YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
  return loaded.flatMap((one): readonly Document[] => {
    if (typeof one !== "object" || one === null) return [];
    const document: Document = one;
    return Array.isArray(document.items) ? (document.items as readonly Document[]) : [document];
  });
}
