/**
 * Moving KV pages of live requests inside a pool. A move leases slots on the target, copies full pages in the
 * background, and is committed between two decode steps by compare-and-set on the request's map version.
 * The coordinator answers; any other rank answers 409 not_coordinator with the coordinator's address.
 */
import { z } from "zod";
import { rankRef } from "./identity.ts";

const requestId = z.string().min(1).max(128);
const moveId = z.string().min(1).max(128).describe("Chosen by the caller; idempotent");
const fence = z.int().min(0).describe("Fencing number of the caller's leadership; a lower one is refused");
const mapVersion = z
  .int()
  .min(0)
  .describe("Grows with every change of the request's page map; what a commit compares");

export const pageShard = z
  .object({
    rankId: z.string().min(1),
    firstPage: z.int().min(0),
    pages: z.int().min(1),
  })
  .describe("Consecutive pages of one request that lie on one rank");

export const inventoryRank = z
  .object({
    rankId: z.string().min(1),
    incarnation: z.string().min(1),
    pagesTotal: z.int().min(0),
    pagesFree: z.int().min(0).describe("Neither held by a request nor leased to a move"),
    scanBytesPerStep: z.int().min(0).describe("Bytes of KV that the next decode step reads on this rank"),
    ageMs: z.int().min(0).describe("Since the incarnation joined the pool"),
    draining: z.boolean().describe("It gets no new pages"),
    keyedPages: z
      .int()
      .min(0)
      .optional()
      .describe("Pages that prompts may share; those that no request holds count as free, for they give way"),
  })
  .describe("A rank of a pool and what it holds");

export const inventoryRequest = z
  .object({
    requestId,
    home: z.string().min(1).describe("Rank that runs the dense layers and samples"),
    mapVersion,
    promptTokens: z.int().min(1),
    writtenPages: z.int().min(0).describe("Pages that hold KV, the partly filled last one included"),
    remainingTokens: z.int().min(0).describe("Tokens that may still be produced"),
    decoding: z.boolean().describe("False while it waits for its decode"),
    settled: z.boolean().describe("False while its prompt's KV may still be pushed: such pages don't move"),
    shards: z.array(pageShard).min(1).describe("In page order, without a gap, to the last reserved page"),
  })
  .describe("A request of a pool and where its pages lie");

export const movePhase = z
  .enum(["copying", "committed", "refused", "cancelled", "failed"])
  .describe("All but copying are final");

/** POST /v1/move, operator → pool coordinator. Answer: MoveState, or 409 stale_fence. */
export const moveOrder = z
  .object({
    moveId,
    fence,
    requestId,
    mapVersion,
    from: z.string().min(1).describe("rankId that holds the pages"),
    fromIncarnation: z.string().min(1),
    to: z.string().min(1).describe("rankId that gets them"),
    toIncarnation: z.string().min(1),
    firstPage: z.int().min(0),
    pages: z.int().min(0).describe("0 when only the home moves"),
    bytesPerSecond: z.int().min(0).describe("Limit of the copy; 0: none"),
    takesHome: z.boolean().describe("The target becomes the request's home at the commit"),
    deadlineMs: z.int().min(1).describe("From receipt; then the move ends as failed"),
  })
  .describe(
    "POST /v1/move, operator to pool coordinator: move pages of a live request; answered by MoveState",
  );

/** POST /v1/move/cancel, operator → pool coordinator. Answer: MoveState, or 404 unknown_request. */
export const moveCancel = z
  .object({ moveId, fence })
  .describe("POST /v1/move/cancel, operator to pool coordinator; a committed move stays committed");

export const moveState = z
  .object({
    moveId,
    requestId,
    from: z.string().min(1),
    to: z.string().min(1),
    firstPage: z.int().min(0),
    pages: z.int().min(0),
    takesHome: z.boolean(),
    bytesPerSecond: z.int().min(0),
    phase: movePhase,
    reason: z.string().describe("Why it ended without a commit; a sentence, empty when copying or committed"),
    mapVersion: z.int().min(0).describe("Of the order; after the commit the request's new one"),
    copiedBytes: z.int().min(0).describe("Acknowledged by the target"),
    totalBytes: z.int().min(0).describe("Of the pages that hold KV"),
    ageMs: z.int().min(0).describe("Since it was received"),
    stallMs: z.number().min(0).describe("Added to the step in which it was committed; 0 before"),
  })
  .describe("How far a move is, or how it ended; kept for ten minutes after its end");

/** GET /v1/inventory, operator → pool coordinator. */
export const poolInventory = z
  .object({
    group: z.string().min(1),
    epoch: z.int().min(1),
    coordinator: rankRef,
    pageTokens: z.int().min(1),
    pageBytes: z.int().min(1).describe("K and V of a page over all layers"),
    stepMs: z.number().min(0).describe("Moving average of a decode step; 0 before the first"),
    scanBytesPerSecond: z
      .number()
      .min(0)
      .describe("KV that the busiest rank read in a step by the step's time; 0 unknown"),
    ranks: z.array(inventoryRank).min(1),
    requests: z.array(inventoryRequest),
    moves: z.array(moveState).describe("Under way, and those that ended in the last ten minutes"),
  })
  .describe("GET /v1/inventory, operator to pool coordinator: who holds which pages, and the moves");

export type PageShard = z.infer<typeof pageShard>;
export type InventoryRank = z.infer<typeof inventoryRank>;
export type InventoryRequest = z.infer<typeof inventoryRequest>;
export type MovePhase = z.infer<typeof movePhase>;
export type MoveOrder = z.infer<typeof moveOrder>;
export type MoveCancel = z.infer<typeof moveCancel>;
export type MoveState = z.infer<typeof moveState>;
export type PoolInventory = z.infer<typeof poolInventory>;
