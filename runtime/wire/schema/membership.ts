/**
 * Roster (who should be in a group: the operator's word, fenced) and epoch (who forms a communicator now:
 * the ranks' own doing, so that the data plane lives on while the operator is away).
 */
import { z } from "zod";
import { rankRef, role } from "./identity.ts";
import { rankLoad } from "./load.ts";

/** POST /v1/roster, operator → every rank of the group. Answer: RankState, or 409 stale_fence. */
export const roster = z
  .object({
    group: z.string().min(1).describe("SPGroup or DecodePool, unique within its namespace"),
    role,
    fence: z.int().min(0).describe("Fencing number of the operator's leadership; a lower one is refused"),
    generation: z
      .int()
      .min(1)
      .describe("Grows with every change of the members; a lower one at the same fence is refused"),
    minSize: z.int().min(1).describe("The group serves with at least this many ranks"),
    members: z
      .array(rankRef)
      .min(1)
      .describe("In rank order; ordinal i of the list is not the SP rank, the epoch's order is"),
  })
  .describe("POST /v1/roster, operator to every rank of the group: who should be in it");

/**
 * POST /v1/epoch, coordinator → every other member. The member leaves its old communicator between two
 * steps, answers 200 and joins the rendezvous; or refuses with stale_epoch or stale_fence.
 */
export const epochProposal = z
  .object({
    group: z.string().min(1),
    epoch: z.int().min(1).describe("Greater than any epoch the member has seen"),
    fence: z.int().min(0),
    generation: z.int().min(1).describe("Generation of the roster that the epoch is formed from"),
    coordinator: rankRef,
    members: z.array(rankRef).min(1).describe("Rank order of the communicator: members[i] is SP rank i"),
    storeHost: z.string().min(1).describe("Rendezvous store of this epoch, hosted by the coordinator"),
    storePort: z.int().min(1).max(65535),
  })
  .describe("POST /v1/epoch, coordinator to every other member: who forms the next communicator");

export const rankPhase = z.enum([
  "loading",
  "awaitingRoster",
  "forming",
  "serving",
  "draining",
  "drained",
  "failed",
]);

/** GET /v1/state, and the answer of POST /v1/roster and /v1/epoch. */
export const rankState = z
  .object({
    rank: rankRef,
    role,
    deployment: z.string(),
    group: z.string(),
    phase: rankPhase,
    reason: z.string().describe("Why the phase is what it is; a sentence, empty when serving"),
    fence: z.int().min(0),
    generation: z.int().min(0).describe("Roster generation it holds; 0 before the first"),
    epoch: z.int().min(0).describe("0 before the first"),
    epochMembers: z
      .array(z.string())
      .describe("rankIds of the present epoch in SP rank order; empty while none is formed"),
    coordinator: rankRef.optional().describe("Coordinator of the present epoch"),
    model: z.string(),
    kvFormat: z.string().describe("Hash of everything that makes KV of two ranks interchangeable"),
    contextLength: z.int().min(1),
    pageTokens: z.int().min(1),
    pagesTotal: z.int().min(0).describe("KV pages of this rank"),
    pagesFree: z.int().min(0),
    poolPagesTotal: z.int().min(0).describe("On a coordinator: KV pages of all members"),
    poolPagesFree: z.int().min(0),
    running: z.int().min(0).describe("Requests being prefilled or decoded by the group"),
    waiting: z.int().min(0).describe("Requests queued in the group"),
    lastBreak: z.string().describe("Why the last epoch ended; empty when none did"),
    heldPages: z
      .int()
      .min(0)
      .optional()
      .describe("KV pages of this rank that requests hold: what a drain still has to move"),
    load: rankLoad.optional().describe("Step times, the queue and samples of work"),
  })
  .describe("GET /v1/state: what a rank is doing now");

export type Roster = z.infer<typeof roster>;
export type EpochProposal = z.infer<typeof epochProposal>;
export type RankPhase = z.infer<typeof rankPhase>;
export type RankState = z.infer<typeof rankState>;
