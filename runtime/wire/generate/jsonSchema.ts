/** The subset of JSON Schema that the wire schemas use; whatever else appears is refused by the emitter. */
import { z } from "zod";
import { environments, messages } from "../schema/messages.ts";

export interface WireSchema {
  $ref?: string;
  type?: string;
  description?: string;
  properties?: Record<string, WireSchema>;
  required?: string[];
  items?: WireSchema;
  oneOf?: WireSchema[];
  enum?: string[];
  const?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  additionalProperties?: unknown;
  propertyNames?: unknown;
}

/** JSON Schema of every named message; a message inside another appears as `$ref: <name>`. */
export function wireSchemas(): Map<string, WireSchema> {
  const registry = z.registry<{ id: string }>();
  const named = { ...messages, ...environments };
  for (const [name, schema] of Object.entries(named)) registry.add(schema, { id: name });
  const { schemas } = z.toJSONSchema(registry, { io: "input", uri: (id) => id });
  return new Map(Object.keys(named).map((name) => [name, schemas[name] as WireSchema]));
}
