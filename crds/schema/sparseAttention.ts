/** Whether keys that matter little may be left out, and how much: of other ranks in prefill, of all in decode. */
import { z } from "zod";

export const sparseAttention = z
  .object({
    mode: z
      // Not Off and On: YAML reads those as booleans unless they stand in quotes.
      .enum(["Disabled", "Enabled", "UnderPressure"])
      .default("Disabled")
      .describe(
        "Enabled: ranks fetch the keys of others by their worth and in 8 bits, an approximation; Disabled: attention is exact; UnderPressure: exact while the ranks hold the load so, and thinned within these limits, longest prompts first, before ranks are added; needs autoscaling.mode Enforce and a budgetPercent below 100, and is Enabled without",
      ),
    minTokens: z
      .int()
      .min(1)
      .max(2 ** 31 - 1)
      .default(2048)
      .describe("Shorter prompts are computed exactly"),
    budgetPercent: z
      .int()
      .min(1)
      .max(100)
      .default(100)
      .describe("The most that a rank may fetch of the keys of others, while the quality floor holds"),
    qualityFloorPercent: z
      .int()
      .min(0)
      .max(100)
      .default(98)
      .describe("While queries cover less of their attention than this on average, ranks fetch more"),
  })
  .describe("Sparse attention in prefill");

export const sparseDecode = z
  .object({
    mode: z
      .enum(["Disabled", "Enabled"])
      .default("Disabled")
      .describe(
        "Enabled: steps read the blocks of a long request's KV that are expected to weigh enough, an approximation; Disabled: they read all",
      ),
    minTokens: z
      .int()
      .min(1)
      .max(2 ** 31 - 1)
      .default(2048)
      .describe("Requests of fewer tokens are read whole"),
    thresholdPercent: z
      .int()
      .min(1)
      .max(100)
      .default(20)
      .describe(
        "Blocks of 32 keys that are left out may be expected to weigh this much of the weightiest block of the request together; first and latest tokens are read always",
      ),
  })
  .describe("Sparse attention in decode");

export type SparseAttention = z.infer<typeof sparseAttention>;
export type SparseDecode = z.infer<typeof sparseDecode>;
