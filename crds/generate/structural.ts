/**
 * JSON Schema of zod → structural schema of a CustomResourceDefinition. The API server takes a subset of
 * OpenAPI: no references, no unions but int-or-string, no closed objects. What it would drop or refuse is
 * refused here, with the path, before it gets into a file.
 */
import { z } from "zod";

/** OpenAPI as the API server stores it; unknown keys are `x-kubernetes-*`. */
export interface StructuralSchema {
  type?: string;
  format?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  required?: string[];
  properties?: Record<string, StructuralSchema>;
  additionalProperties?: StructuralSchema;
  items?: StructuralSchema;
  anyOf?: StructuralSchema[];
  minimum?: number;
  maximum?: number;
  [key: string]: unknown;
}

const passed = new Set([
  ...["type", "description", "default", "enum", "required"],
  ...["minLength", "maxLength", "pattern", "minItems", "maxItems", "maxProperties"],
]);

/** @throws Error naming the path of what has no structural form. */
export function structural(schema: z.ZodType, path: string): StructuralSchema {
  const json = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input" });
  return convert(json as StructuralSchema, path);
}

function convert(schema: StructuralSchema, path: string): StructuralSchema {
  if (schema["x-kubernetes-int-or-string"] === true) return intOrString(schema);
  if (schema.type === undefined)
    throw new Error(`${path}: only one type is structural, not a union or a reference`);
  const result: StructuralSchema = {};
  for (const [key, value] of Object.entries(schema)) {
    if (passed.has(key) || key.startsWith("x-kubernetes-")) result[key] = value;
    else if (!["properties", "additionalProperties", "items", "minimum", "maximum", "format"].includes(key)) {
      throw new Error(`${path}: ${key} is not structural`);
    }
  }
  if (schema.type === "integer") Object.assign(result, integerBounds(schema));
  if (schema.format === "date-time") {
    result.format = "date-time";
    delete result["pattern"];
  } else if (schema.format !== undefined)
    throw new Error(`${path}: format ${schema.format} is not checked by the API server`);
  if (schema.items) result.items = convert(schema.items, `${path}[]`);
  if (schema.type === "object") Object.assign(result, objectFields(schema, path));
  return result;
}

function objectFields(schema: StructuralSchema, path: string): StructuralSchema {
  const values = schema.additionalProperties;
  if (!schema.properties) {
    if (typeof values !== "object" || Object.keys(values).length === 0)
      throw new Error(`${path}: an object needs typed fields`);
    return { additionalProperties: convert(values, `${path}.*`) };
  }
  if (values !== undefined)
    throw new Error(`${path}: a strict object is not structural; the API server prunes by itself`);
  const fields = Object.entries(schema.properties).map(
    ([name, field]) => [name, convert(field, `${path}.${name}`)] as const,
  );
  for (const [name, field] of fields) {
    if (!field.description) throw new Error(`${path}.${name}: needs a description`);
    if (!(schema.required ?? []).includes(name)) mustMaterialise(field, `${path}.${name}`);
  }
  const properties = Object.fromEntries(fields);
  return {
    properties,
    ...(isRecord(schema.default) && { default: materialised(schema.default, properties) }),
  };
}

/** A default with those of the fields in it: the API server runs CEL rules on a default as it is written. */
function materialised(given: Record<string, unknown>, properties: Record<string, StructuralSchema>): object {
  const initial = Object.entries(properties).flatMap(([name, field]) =>
    field.default === undefined ? [] : [[name, field.default]],
  );
  return { ...(Object.fromEntries(initial) as Record<string, unknown>), ...given };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The API server fills a default in only where its parent object exists. An optional object that could be
 * empty must therefore have a default of its own, or those below it would never appear.
 */
function mustMaterialise(field: StructuralSchema, path: string): void {
  if (field.type !== "object" || field.default !== undefined || field.required) return;
  const hidden = Object.entries(field.properties ?? {}).find(([, child]) => child.default !== undefined);
  if (hidden) throw new Error(`${path}: needs a default, else that of ${hidden[0]} never materialises`);
}

/** zod bounds every integer to what a double holds; the API server's own bound is int64. */
function integerBounds({ minimum, maximum }: StructuralSchema): StructuralSchema {
  return {
    format: maximum !== undefined && maximum < 2 ** 31 && minimum !== undefined ? "int32" : "int64",
    ...(minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER && { minimum }),
    ...(maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER && { maximum }),
  };
}

function intOrString(schema: StructuralSchema): StructuralSchema {
  const text = schema.anyOf?.find((member) => member.type === "string");
  return {
    anyOf: [{ type: "integer" }, { type: "string" }],
    "x-kubernetes-int-or-string": true,
    ...(text?.["pattern"] !== undefined && { pattern: text["pattern"] }),
    ...(text?.["maxLength"] !== undefined && { maxLength: text["maxLength"] }),
    ...(schema.description !== undefined && { description: schema.description }),
  };
}
