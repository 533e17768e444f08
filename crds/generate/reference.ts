/** API reference in Markdown: one table a kind, a row a field, from the very schema that the CRD carries. */
import type { Rule } from "../schema/rule.ts";
import { group, objectSchema, version } from "./definition.ts";
import { kinds, type Kind } from "./kinds.ts";
import type { StructuralSchema } from "./structural.ts";

const header = `# API reference

Generated from \`crds/schema\` by \`npm run generate\`; do not edit. Group \`${group}\`, version \`${version}\`.
\`kubectl explain <kind>.spec --recursive\` prints the same from a cluster.`;

export function apiReference(): string {
  return `${[header, ...kinds.map(section)].join("\n\n")}\n`;
}

function section(kind: Kind): string {
  const schema = objectSchema(kind);
  const spec = schema.properties?.["spec"] ?? {};
  const status = schema.properties?.["status"] ?? {};
  const rules = [...rulesOf(schema, ""), ...rulesOf(spec, "spec")];
  return [
    `## ${kind.kind}`,
    `${kind.description}. Short names: ${kind.shortNames.map((name) => `\`${name}\``).join(", ")}.`,
    fieldTable(spec, "spec"),
    ...(rules.length > 0 ? ["The API server also refuses an object unless:", rules.join("\n")] : []),
    "### Status",
    fieldTable(status, "status"),
  ].join("\n\n");
}

function fieldTable(schema: StructuralSchema, path: string): string {
  return ["| field | type | default | meaning |", "| --- | --- | --- | --- |", ...rows(schema, path)].join(
    "\n",
  );
}

function rows(schema: StructuralSchema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const isRequired = schema.required?.includes(name) === true;
    const here = `${path}.${name}`;
    const initial = isRequired ? "required" : defaultOf(field);
    const row = `| \`${here}\` | ${typeOf(field)} | ${initial} | ${cell(field.description ?? "")} |`;
    const below = field.items?.properties ? rows(field.items, `${here}[]`) : rows(field, here);
    return [row, ...below];
  });
}

function typeOf(field: StructuralSchema): string {
  if (field["x-kubernetes-int-or-string"] === true) return "quantity";
  if (field.enum) return field.enum.map((value) => `\`${String(value)}\``).join(", ");
  if (field.items) return `list of ${typeOf(field.items)}`;
  if (field.additionalProperties) return `map of ${typeOf(field.additionalProperties)}`;
  const { minimum, maximum } = field;
  const range = [minimum === undefined ? "" : `≥ ${minimum}`, maximum === undefined ? "" : `≤ ${maximum}`];
  return [field.type ?? "", range.filter(Boolean).join(", ")].filter(Boolean).join(" ");
}

function defaultOf(field: StructuralSchema): string {
  if (field.default === undefined || field.type === "object") return "";
  return field.default === "" ? "empty" : `\`${JSON.stringify(field.default).replaceAll('"', "")}\``;
}

function rulesOf(schema: StructuralSchema, path: string): string[] {
  const own = (schema["x-kubernetes-validations"] as Rule[] | undefined) ?? [];
  const lines = own.map((rule) => `- ${path ? `\`${path}\`: ` : ""}${rule.message}`);
  if (!path) return lines;
  const children = Object.entries(schema.properties ?? {}).map(
    ([name, field]): [StructuralSchema, string] => [field, `${path}.${name}`],
  );
  if (schema.items) children.push([schema.items, `${path}[]`]);
  return [...lines, ...children.flatMap(([field, where]) => rulesOf(field, where))];
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}
