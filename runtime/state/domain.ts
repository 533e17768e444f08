/** What the cluster state speaks of: ranks, the KV shards of requests, and the operator's fence. */
import { z } from "zod";
import { moveOrder } from "../wire/schema/move.ts";
import { rankRef, role } from "../wire/schema/identity.ts";
import { rankPhase } from "../wire/schema/membership.ts";

const count = z.int().min(0);

/** A rank's heartbeat with its capacity and load. Ranks write it about once a second. */
export const rankReport = z.object({
  rankId: z.string().min(1),
  incarnation: z.string().min(1),
  startedMs: count.describe("Unix time at which the incarnation started; orders incarnations of one rank"),
  reportedMs: count.describe("Unix time of this report by the rank's clock"),
  rank: rankRef,
  role,
  group: z.string().min(1),
  phase: rankPhase,
  epoch: count,
  coordinator: z.boolean().describe("Whether the rank coordinates its group's present epoch"),
  kvFormat: z.string(),
  pagesTotal: count,
  pagesFree: count,
  running: count,
  waiting: count,
});

/** One stretch of a request's tokens and the rank that holds its KV. */
export const shard = z.object({
  rankId: z.string().min(1),
  firstToken: count,
  tokens: z.int().min(1),
  bytes: count,
});

/** Where the KV of one request lies, in token order. */
export const shardMap = z.object({
  requestId: z.string().min(1),
  pool: z.string().min(1).describe("DecodePool that holds it"),
  epoch: count.describe("Epoch of the pool; a map of a lower one is refused"),
  version: count.describe("Grows with every change within an epoch"),
  shards: z.array(shard).min(1),
});

/** A move of KV pages that a leader recorded before it ordered it. */
export const moveRecord = z.object({
  moveId: z.string().min(1),
  requestId: z.string().min(1),
  pool: z.string().min(1).describe("DecodePool whose pages move"),
  recordedMs: count.describe("Unix time by the leader's clock"),
  order: moveOrder
    .omit({ fence: true })
    .describe("What is ordered; a later leader orders it with its own fence"),
  bytes: count.describe("To be copied"),
});

/** SP degree to serve prompts with, by length class, ascending; longer prompts than any class count to the last. */
export const degreeTable = z.array(
  z.object({
    name: z.string().min(1),
    upToTokens: z.int().min(1),
    degree: z.int().min(0).describe("0: the group chooses"),
    attention: z
      .enum(["auto", "dense"])
      .optional()
      .describe("dense: exact, whatever the deployment allows. Default: auto"),
  }),
);

export type DegreeTable = z.infer<typeof degreeTable>;
export type MoveRecord = z.infer<typeof moveRecord>;
export type RankReport = z.infer<typeof rankReport>;
export type Shard = z.infer<typeof shard>;
export type ShardMap = z.infer<typeof shardMap>;
