/** A kind → its CustomResourceDefinition. */
import { structural, type StructuralSchema } from "./structural.ts";
import type { Kind } from "./kinds.ts";

export const group = "csps.io";
export const version = "v1alpha1";

/** The schema of the whole object, as the CRD carries it. */
export function objectSchema(kind: Kind): StructuralSchema {
  return {
    description: kind.description,
    type: "object",
    required: ["spec"],
    properties: {
      apiVersion: { type: "string", description: "Version of the schema" },
      kind: { type: "string", description: "Kind of the object" },
      metadata: { type: "object", properties: { name: { type: "string" } } },
      spec: structural(kind.spec, "spec"),
      status: structural(kind.status, "status"),
    },
    ...(kind.rules && { "x-kubernetes-validations": kind.rules }),
  };
}

export function customResourceDefinition(kind: Kind): object {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${kind.plural}.${group}` },
    spec: {
      group,
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.kind.toLowerCase(),
        shortNames: kind.shortNames,
        // Not `csps` too: kubectl takes a category before a short name, and `get csps <name>` would fail.
        categories: ["all"],
      },
      scope: "Namespaced",
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {}, ...(kind.scale && { scale: kind.scale }) },
          additionalPrinterColumns: kind.columns,
          schema: { openAPIV3Schema: objectSchema(kind) },
        },
      ],
    },
  };
}
