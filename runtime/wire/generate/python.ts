/**
 * Python side of the wire: one frozen pydantic model a message, snake_case attributes under camelCase
 * aliases. Written here rather than by a Python tool so that `npm run verify` needs no Python.
 * Throws on any construct that it can't express, so that a schema never loses a rule silently.
 */
import { wireSchemas, type WireSchema } from "./jsonSchema.ts";

const prelude = `"""Messages of the control API.

Generated from runtime/wire/schema by \`npm run generate\`; do not edit. Attributes are snake_case, JSON
is camelCase. Unknown keys are ignored, so that a newer peer may add some. Validation is strict:
a number in quotes is refused, as it is on the TypeScript side.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _variable(name: str) -> str:
    return "CSPS_" + name.upper()


SAFE = 2**53 - 1
"""Greatest integer that both languages hold exactly."""


class WireMessage(BaseModel):
    """Base of every message: built by attribute names, read from and written to JSON by aliases."""

    model_config = ConfigDict(
        alias_generator=_camel,
        populate_by_name=True,
        strict=True,
        frozen=True,
        protected_namespaces=(),
    )

    def to_json(self) -> bytes:
        """One compact JSON document; absent optional fields are left out, never null."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def to_wire(self) -> dict[str, Any]:
        """The same as a dictionary, for an HTTP client that encodes JSON itself."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class EnvironmentVariables(BaseModel):
    """Base of the containers' environments: attribute \`role\` is variable \`CSPS_ROLE\`."""

    model_config = ConfigDict(
        alias_generator=_variable,
        populate_by_name=True,
        frozen=True,
        protected_namespaces=(),
    )
`;

/** The whole module \`csps_engine/wire/generated.py\`. */
export function pythonModule(): string {
  const sections = [...wireSchemas()].map(([name, schema]) => declaration(name, schema));
  return [prelude, ...sections].join("\n\n");
}

function declaration(name: string, schema: WireSchema): string {
  if (schema.enum) return `${name}: TypeAlias = ${typeOf(schema, name)}\n`;
  if (schema.oneOf) return union(name, schema.oneOf);
  if (schema.type !== "object" || !schema.properties)
    throw new Error(`${name}: neither object, enum nor union`);
  const isEnvironment = name.endsWith("Environment");
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties).map(([key, field]) => {
    const attribute = isEnvironment ? attributeOfVariable(key) : attributeOf(key);
    const plain = typeOf(field, `${name}.${key}`);
    const type = pythonKeywords.has(key) ? `Annotated[${plain}, Field(alias="${key}")]` : plain;
    const line = required.has(key) ? `    ${attribute}: ${type}` : `    ${attribute}: ${type} | None = None`;
    return field.description ? `${line}\n${docstring(field.description, "    ")}` : line;
  });
  const base = isEnvironment ? "EnvironmentVariables" : "WireMessage";
  if (!schema.description) throw new Error(`${name}: a message needs a description`);
  return [`class ${name}(${base}):`, docstring(schema.description, "    "), "", ...fields, ""].join("\n");
}

function union(name: string, members: WireSchema[]): string {
  const parts = members.map((member) => typeOf(member, name));
  const alternatives = parts.join(" | ");
  const constant = attributeOf(name.charAt(0).toLowerCase() + name.slice(1)).toUpperCase();
  return (
    `${name}: TypeAlias = Annotated[\n    ${alternatives},\n    Field(discriminator="type"),\n]\n` +
    `${constant}: TypeAdapter[${name}] = TypeAdapter(${name})\n`
  );
}

function typeOf(schema: WireSchema, where: string): string {
  if (schema.$ref) return schema.$ref;
  if (schema.const !== undefined) return `Literal[${JSON.stringify(schema.const)}]`;
  if (schema.enum) return literal(schema.enum);
  switch (schema.type) {
    case "string":
      return constrained("str", { min_length: schema.minLength, max_length: schema.maxLength });
    case "integer":
      return constrained("int", { ge: schema.minimum, le: schema.maximum });
    case "number":
      return constrained(
        "float",
        { gt: schema.exclusiveMinimum, ge: schema.minimum, le: schema.maximum },
        true,
      );
    case "boolean":
      return "bool";
    case "array":
      if (!schema.items) throw new Error(`${where}: array without items`);
      return constrained(`list[${typeOf(schema.items, where)}]`, { min_length: schema.minItems });
    case "object":
      if (!schema.properties && schema.additionalProperties) return "dict[str, Any]";
      throw new Error(`${where}: an object inside a message needs a name in schema/messages.ts`);
    default:
      throw new Error(`${where}: no Python form for ${JSON.stringify(schema)}`);
  }
}

function constrained(type: string, bounds: Record<string, number | undefined>, finite = false): string {
  const given = Object.entries(bounds).flatMap(([key, bound]) =>
    bound === undefined ? [] : [`${key}=${bound === Number.MAX_SAFE_INTEGER ? "SAFE" : bound}`],
  );
  if (finite) given.push("allow_inf_nan=False");
  return given.length === 0 ? type : `Annotated[${type}, Field(${given.join(", ")})]`;
}

function literal(values: string[]): string {
  const items = values.map((value) => JSON.stringify(value));
  const line = `Literal[${items.join(", ")}]`;
  return line.length <= 70 ? line : `Literal[\n    ${items.join(",\n    ")},\n]`;
}

/** Keys of messages that Python keeps for itself; their attributes end in an underscore. */
const pythonKeywords: ReadonlySet<string> = new Set([
  "from",
  "is",
  "in",
  "class",
  "global",
  "pass",
  "lambda",
]);

function attributeOf(key: string): string {
  if (pythonKeywords.has(key)) return `${key}_`;
  const attribute = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  if (!/^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$/.test(attribute))
    throw new Error(`${key}: can't be renamed both ways`);
  return attribute;
}

function attributeOfVariable(key: string): string {
  if (!/^CSPS_[A-Z]+(_[A-Z]+)*$/.test(key)) throw new Error(`${key}: a variable is named CSPS_…`);
  return key.slice("CSPS_".length).toLowerCase();
}

/** A docstring within 100 columns. */
function docstring(text: string, indent: string): string {
  const lines: string[] = [];
  let line = `${indent}"""`;
  for (const word of text.split(/\s+/)) {
    if (line.length + word.length > 96 && line.trim() !== "") {
      lines.push(line.trimEnd());
      line = indent;
    }
    line += `${word} `;
  }
  return [...lines, `${line.trimEnd()}"""`].join("\n");
}
