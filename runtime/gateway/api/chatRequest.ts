/** Body of POST /v1/chat/completions. */
import { z } from "zod";
import { badRequest } from "./apiError.ts";
import { optional, parseBody, sharedFields } from "./requestFields.ts";

const textPart = z.object({
  type: z.literal("text", { error: "only parts of type text are supported" }),
  text: z.string(),
});

const message = z
  .object({
    role: z.enum(["system", "developer", "user", "assistant"]),
    content: z.union([z.string(), z.array(textPart).min(1)]),
    name: z.string().nullish(),
  })
  .transform(({ role, content }) => ({
    // "developer" is the newer name of the same thing; templates know the older.
    role: role === "developer" ? ("system" as const) : role,
    content: typeof content === "string" ? content : content.map((part) => part.text).join(""),
  }));

const fields = {
  ...sharedFields,
  messages: z.array(message).min(1),
  max_tokens: optional(z.int().min(1)),
  max_completion_tokens: optional(z.int().min(1)),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
};

const schema = z.object(fields);
const known: ReadonlySet<string> = new Set(Object.keys(fields));

export type ChatRequest = z.infer<typeof schema>;
export type ChatMessage = ChatRequest["messages"][number];

export function parseChatRequest(body: unknown): ChatRequest {
  const request = parseBody(schema, known, body);
  if (request.top_logprobs !== undefined && request.logprobs !== true) {
    throw badRequest("top_logprobs needs logprobs to be true.", {
      param: "top_logprobs",
      code: "invalid_value",
    });
  }
  return request;
}
