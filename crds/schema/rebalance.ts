/** How the KV of running requests is kept even over the ranks of a decode pool, and how a rank is emptied. */
import { z } from "zod";
import { rules, sentence } from "./rule.ts";

const mebibyte = 2 ** 20;

/** So that a move makes progress: with less, a page of a large model would take minutes. */
const leastPerMove = 256 * 2 ** 10;

export const rebalance = z
  .object({
    mode: z
      // Not Off and On: YAML reads those as booleans unless they stand in quotes.
      .enum(["Disabled", "Enabled"])
      .default("Enabled")
      .describe(
        "Disabled: no pages are moved for balance; a rank that leaves still hands over what it holds",
      ),
    bytesPerSecond: z
      .int()
      .min(mebibyte)
      .max(2 ** 40)
      .optional()
      .describe("What all moves of the pool may copy together. Default: 256 MiB on cpu, 4 GiB on cuda"),
    concurrentMoves: z.int().min(1).max(64).default(4).describe("Moves at a time"),
    imbalancePercent: z
      .int()
      .min(1)
      .max(1000)
      .default(10)
      .describe(
        "Moves begin when the slowest scan or the fullest memory is this much above the mean of the ranks",
      ),
    drainSeconds: z
      .int()
      .min(1)
      .max(86400)
      .default(300)
      .describe(
        "Time that a rank has to hand over its KV before it leaves; what it still holds then is computed again",
      ),
  })
  .describe("Moving the KV of running requests between ranks")
  .meta(
    rules({
      rule: `!has(self.bytesPerSecond) || self.bytesPerSecond >= self.concurrentMoves * ${String(leastPerMove)}`,
      message: "bytesPerSecond must be at least 262144 for each of concurrentMoves",
      messageExpression: sentence(
        `bytesPerSecond is %d but must be at least ${String(leastPerMove)} for each of concurrentMoves, which is %d`,
        ["self.bytesPerSecond", "self.concurrentMoves"],
      ),
      fieldPath: ".bytesPerSecond",
    }),
  );

export type Rebalance = z.infer<typeof rebalance>;
