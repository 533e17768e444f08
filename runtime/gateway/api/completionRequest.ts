/** Body of POST /v1/completions. */
import { z } from "zod";
import { optional, parseBody, sharedFields } from "./requestFields.ts";

const tokens = z.array(z.int().min(0)).min(1);
const manyPrompts = 64;

const fields = {
  ...sharedFields,
  prompt: z.union(
    [
      z.string(),
      tokens,
      z.array(z.string()).min(1).max(manyPrompts),
      z.array(tokens).min(1).max(manyPrompts),
    ],
    {
      error:
        "has to be a string, a list of strings, a list of token ids or a list of such lists, and not empty",
    },
  ),
  max_tokens: optional(z.int().min(1)),
  logprobs: optional(z.int().min(0).max(20)),
};

const schema = z.object(fields);
const known: ReadonlySet<string> = new Set(Object.keys(fields));

export type CompletionRequest = z.infer<typeof schema>;
export type Prompt = string | number[];

export function parseCompletionRequest(body: unknown): CompletionRequest {
  return parseBody(schema, known, body);
}

/** A completion has one choice per prompt. */
export function promptsOf({ prompt }: CompletionRequest): Prompt[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as Prompt[]);
}
