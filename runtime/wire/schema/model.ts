/** GET /v1/model, gateway → any rank past loading: what the gateway needs to speak for the model. */
import { z } from "zod";

export const modelDescriptor = z
  .object({
    name: z.string().describe("Served name"),
    architecture: z.string().describe("llama, …"),
    contextLength: z.int().min(1).describe("Prompt plus output tokens"),
    vocabSize: z.int().min(1),
    bosTokenId: z.int().min(0).optional(),
    eosTokenIds: z.array(z.int().min(0)).min(1),
    addBos: z.boolean().describe("Whether plain completions start with the BOS token"),
    chatTemplate: z.string().describe("Jinja; empty when the model has none"),
    kvFormat: z.string(),
    tokenizer: z
      .record(z.string(), z.unknown())
      .describe("Contents of tokenizer.json (Hugging Face tokenizers)"),
    tokenizerConfig: z
      .record(z.string(), z.unknown())
      .describe("Contents of tokenizer_config.json, at least bos_token and eos_token"),
  })
  .describe("GET /v1/model: what the gateway needs to speak for the model");

export type ModelDescriptor = z.infer<typeof modelDescriptor>;
