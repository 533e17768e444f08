/** Fields that completions and chat share, and the parameters that neither supports. */
import { z } from "zod";
import type { ApiError } from "./apiError.ts";
import { badRequest } from "./apiError.ts";

/** OpenAI's clients send null for "not set". */
export function optional<Schema extends z.ZodType>(schema: Schema) {
  return schema.nullish().transform((value) => value ?? undefined);
}

/** As long as the wire takes one. A lone surrogate is no text: as UTF-8, which is hashed, it would be U+FFFD. */
const cacheSalt = z
  .string()
  .min(1)
  .max(256)
  .regex(/^\P{Surrogate}*$/u, { error: "has to be Unicode text" });

const stop = z.union([z.string().min(1), z.array(z.string().min(1)).max(4)]);

export const sharedFields = {
  model: z.string(),
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
  stop: optional(stop),
  seed: optional(z.int()),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().gt(0).max(1)),
  n: optional(z.int().min(1)),
  cache_salt: optional(cacheSalt),
  // Not of OpenAI's API. Load generators send it, so that every answer has the length that they ask for.
  ignore_eos: optional(z.boolean()),
};

/** Parameters without influence on the answer: taken and not used. */
const ignorable = new Set([
  "user",
  "metadata",
  "store",
  "service_tier",
  "safety_identifier",
  "prompt_cache_key",
  "parallel_tool_calls",
]);

/** Values of unsupported parameters that ask for nothing, so that clients that always send them get through. */
const harmless: Readonly<Record<string, (value: unknown) => boolean>> = {
  n: (value) => value === 1,
  best_of: (value) => value === 1,
  echo: (value) => value === false,
  suffix: (value) => value === "",
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  logit_bias: (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0,
  tools: (value) => Array.isArray(value) && value.length === 0,
  tool_choice: (value) => value === "none" || value === "auto",
  response_format: (value) => isTextFormat(value),
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === "text",
};

function isTextFormat(value: unknown): boolean {
  return typeof value === "object" && value !== null && "type" in value && value.type === "text";
}

/**
 * Parses a request body. What the schema does not know and what asks for something is refused by name: a
 * parameter that changes an answer is never dropped silently.
 */
export function parseBody<T>(schema: z.ZodType<T>, known: ReadonlySet<string>, body: unknown): T {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw badRequest("The request body has to be a JSON object, sent with content-type application/json.");
  }
  for (const [name, value] of Object.entries(body)) {
    if (value === null || value === undefined) continue;
    const asksNothing = harmless[name];
    if (asksNothing === undefined ? known.has(name) || ignorable.has(name) : asksNothing(value)) continue;
    if (name === "n")
      throw badRequest("n has to be 1: one choice per prompt is supported.", {
        param: "n",
        code: "unsupported_value",
      });
    const message =
      asksNothing === undefined
        ? `${name} is not a parameter of this endpoint.`
        : `${name}=${JSON.stringify(value).slice(0, 80)} is not supported.`;
    throw badRequest(message, {
      param: name,
      code: asksNothing === undefined ? "unknown_parameter" : "unsupported_parameter",
    });
  }
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw fromZod(result.error);
}

/** The first issue, with the path of its field. */
export function fromZod(error: z.ZodError): ApiError {
  const issue = error.issues[0];
  const param = issue?.path.map(String).join(".") ?? "";
  const message = issue?.message ?? "invalid request";
  return badRequest(param === "" ? message : `${param}: ${message}`, { param, code: "invalid_value" });
}
