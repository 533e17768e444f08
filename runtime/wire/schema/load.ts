/** What a rank reports of its work, for the autoscaler: step times, the queue, and samples for the cost model. */
import { z } from "zod";
import { sparseSummary } from "./serving.ts";

const number = z
  .int()
  .min(0)
  .describe("Grows by one with each report of this incarnation, so that a reader counts none twice");
const ageMs = z.int().min(0).describe("Since the work ended");

export const prefillReport = z
  .object({
    number,
    tokens: z.int().min(1).describe("Of the prompt"),
    degree: z.int().min(1).describe("Ranks that computed it"),
    seconds: z.number().min(0).describe("Computing it"),
    queuedSeconds: z.number().min(0).describe("From its receipt until it was begun"),
    sparse: sparseSummary
      .optional()
      .describe(
        "What its attention left out, so that its time tells of thinned prompts and not of exact ones. Absent: it was exact",
      ),
    ageMs,
  })
  .describe("One prefill that ended well");

export const decodeReport = z
  .object({
    number,
    rows: z.int().min(1).describe("Requests in the step"),
    contextTokens: z.int().min(0).describe("Tokens attended to, of all rows together"),
    ranks: z.int().min(1).describe("Ranks of the pool"),
    seconds: z.number().min(0),
    ageMs,
  })
  .describe("One decode step, sampled");

export const rankLoad = z
  .object({
    steps: z.int().min(0).describe("Steps that did work in the last minute"),
    stepP50Ms: z.number().min(0).describe("Median time of those steps; 0 without any"),
    stepP99Ms: z.number().min(0).describe("99th percentile of those steps; 0 without any"),
    waitingPromptTokens: z.int().min(0).describe("Prompt tokens of the requests that wait in the group"),
    runningPromptTokens: z
      .int()
      .min(0)
      .optional()
      .describe("Prompt tokens of the requests that the group prefills now"),
    oldestWaitMs: z.int().min(0).describe("How long the oldest of them has waited; 0 when none waits"),
    prefills: z.array(prefillReport).describe("Of the last five minutes, oldest first, at most 32"),
    decodes: z.array(decodeReport).describe("Of the last five minutes, oldest first, at most 32"),
  })
  .describe("What a rank has done lately and what waits; a coordinator's is its group's");

export type PrefillReport = z.infer<typeof prefillReport>;
export type DecodeReport = z.infer<typeof decodeReport>;
export type RankLoad = z.infer<typeof rankLoad>;
