/** Whether prefill may leave out keys of other ranks that matter little, and how much it may. */
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

export type SparseAttention = z.infer<typeof sparseAttention>;
