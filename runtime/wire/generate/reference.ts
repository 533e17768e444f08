/** Reference of the messages in Markdown, for whoever watches the wire or writes another end of it. */
import { type EngineMetric, engineMetrics } from "../engineMetrics.ts";
import { wireSchemas, type WireSchema } from "./jsonSchema.ts";

const header = `# Control API reference

Generated from \`runtime/wire/schema\` by \`npm run generate\`; do not edit. Every rank serves it over HTTP on its control port
(9000). \`/healthz\`, \`/readyz\` and \`/metrics\` are open; all else asks for the deployment's bearer token. Streams are
NDJSON, one event a line. A request that fails is answered with a [Failure](#failure).

A rank's coordinator answers \`/v1/reserve\`, \`/v1/prefill\`, \`/v1/decode\`, \`/v1/cancel\`, \`/v1/inventory\`,
\`/v1/move\` and \`/v1/move/cancel\`; any other rank answers \`not_coordinator\` with the address to ask.
\`POST /v1/drain\` has no body.`;

export function wireReference(): string {
  const messages = [...wireSchemas()].map(([name, schema]) => section(name, schema));
  return `${[header, ...messages, metrics()].join("\n\n")}\n`;
}

function section(name: string, schema: WireSchema): string {
  const about = schema.description ? [`${cell(schema.description)}.`] : [];
  if (schema.enum) return [`## ${name}`, ...about, `One of ${typeOf(schema)}.`].join("\n\n");
  if (schema.oneOf)
    return [`## ${name}`, ...about, `One of ${schema.oneOf.map(typeOf).join(", ")}, by \`type\`.`].join(
      "\n\n",
    );
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(
    ([key, field]) =>
      `| \`${key}\` | ${typeOf(field)}${required.has(key) ? "" : ", optional"} | ${cell(field.description ?? "")} |`,
  );
  return [
    `## ${name}`,
    ...about,
    ["| field | type | meaning |", "| --- | --- | --- |", ...rows].join("\n"),
  ].join("\n\n");
}

function metrics(): string {
  const rows = Object.values<EngineMetric>(engineMetrics).map(
    ({ name, about, labels = [] }) =>
      `| \`${name}\` | ${labels.map((label) => `\`${label}\``).join(", ")} | ${cell(about)} |`,
  );
  return [
    "## Metrics of a rank",
    "Gauges of `GET /metrics` that are made of one RankState at each scrape, and always there. The others count events and times.",
    ["| metric | labels | meaning |", "| --- | --- | --- |", ...rows].join("\n"),
  ].join("\n\n");
}

function typeOf(schema: WireSchema): string {
  if (schema.$ref) return `[${schema.$ref}](#${schema.$ref.toLowerCase()})`;
  if (schema.const !== undefined) return `\`"${schema.const}"\``;
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(", ");
  if (schema.items) return `list of ${typeOf(schema.items)}`;
  return schema.type ?? "";
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}
