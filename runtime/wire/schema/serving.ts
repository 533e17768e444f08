/**
 * The path of one request: reserve (pool) → prefill (group, pushes KV to the reserved pages) → decode (pool).
 * A request id is idempotent everywhere. Streams are NDJSON, one event a line; the last event is `done` or
 * `error`. A coordinator answers; any other rank answers 409 not_coordinator with the coordinator's address.
 */
import { z } from "zod";
import { failure } from "./failure.ts";
import { rankRef } from "./identity.ts";

const requestId = z.string().min(1).max(128).describe("Chosen by the gateway; idempotent in every verb");
const tokenId = z.int().min(0);
const pageKeys = z
  .array(z.string().length(32))
  .optional()
  .describe(
    "Keys of the prompt's full pages, in order: hashes of all tokens up to the end of each, chained from the kvFormat and the salt. Absent: nothing is shared",
  );

export const sampling = z
  .object({
    temperature: z.number().min(0).describe("0 is greedy"),
    topP: z.number().gt(0).max(1),
    seed: z
      .int()
      .min(0)
      .max(2 ** 53 - 1)
      .describe(
        "Token at absolute position p is drawn by a generator keyed (seed, p), so a retry repeats the stream",
      ),
    logprobs: z
      .int()
      .min(0)
      .max(20)
      .describe("How many of the likeliest tokens to report beside the chosen one"),
    wantLogprobs: z.boolean().describe("Whether to report the chosen token's log-probability"),
  })
  .describe("How a token is drawn from logits");

/** POST /v1/reserve, gateway → pool coordinator. Refusal: 429 out_of_pages. */
export const reserveRequest = z
  .object({
    requestId,
    promptTokens: z.int().min(1),
    maxNewTokens: z.int().min(1),
    leaseMs: z.int().min(100).describe("Pages are freed when no decode started by then"),
    waitMs: z
      .int()
      .min(0)
      .optional()
      .describe("How long it may wait in line for pages, first come first served; absent: not at all"),
    pageKeys,
  })
  .describe("POST /v1/reserve, gateway to pool coordinator: KV pages for a prompt, under a lease");

export const pagePlace = z
  .object({
    page: z
      .int()
      .min(0)
      .describe("Index of the page in the request: tokens [page*pageTokens, (page+1)*pageTokens)"),
    rankId: z.string().describe("Decode rank that holds it"),
    slot: z.int().min(0).describe("Slot in that rank's KV pool"),
  })
  .describe("Where one KV page of a request lives");

export const reservation = z
  .object({
    requestId,
    epoch: z.int().min(1).describe("Epoch of the pool"),
    homeRank: z.string().describe("Rank that runs the dense layers and samples for this request"),
    holders: z.array(rankRef).min(1).describe("Every rank named in pages"),
    pages: z
      .array(pagePlace)
      .min(1)
      .describe("Of the prompt, in order; pages for new tokens are assigned while decoding"),
    pageTokens: z.int().min(1),
    kvFormat: z.string(),
    pageKeys,
    sharedPages: z
      .int()
      .min(0)
      .optional()
      .describe("Leading pages whose KV is there already: it is read, and nobody pushes it. Absent: 0"),
  })
  .describe("Answer of POST /v1/reserve: the page map that the prefill group pushes KV to");

/** POST /v1/prefill, gateway → group coordinator. Answer: NDJSON of prefillEvent. */
export const prefillRequest = z
  .object({
    requestId,
    tokenIds: z.array(tokenId).min(1),
    sampling,
    attention: z
      .enum(["auto", "dense", "sparse"])
      .optional()
      .describe(
        "dense: exact, whatever the deployment allows; sparse: wherever it is allowed; auto: where it is allowed and foreseen to pay. Default: auto",
      ),
    degree: z
      .int()
      .min(0)
      .optional()
      .describe(
        "Ranks of the group that should compute it; fewer do when not so many are free and it ends sooner so. Absent or 0: as many as pay by the group's own costs",
      ),
    reservation,
    cacheSalt: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe(
        "Mixed into the start of the chain of reservation.pageKeys: only prompts with the same one share pages. Absent: none",
      ),
    ttftMs: z
      .int()
      .min(1)
      .optional()
      .describe(
        "Within so long of its arrival the prompt should have its first token: one that can't any more stands back for a while. Absent: it never stands back",
      ),
    waitedMs: z
      .int()
      .min(0)
      .optional()
      .describe("Between its arrival at the gateway and this message. Absent: 0"),
    deadlineMs: z.int().min(1).describe("From receipt; then the request ends with deadline_exceeded"),
  })
  .describe("POST /v1/prefill, gateway to group coordinator; answered by NDJSON of PrefillEvent");

export const tokenLogprob = z
  .object({ tokenId, logprob: z.number() })
  .describe("A token and its log-probability");

export const tokenEvent = z
  .object({
    type: z.literal("token"),
    index: z.int().min(0).describe("0 for the first token after the prompt of this prefill"),
    tokenId,
    logprob: z.number().optional(),
    topLogprobs: z.array(tokenLogprob).optional(),
  })
  .describe("One produced token of a prefill or decode stream");

export const errorEvent = z
  .object({ type: z.literal("error"), error: failure })
  .describe("Last event of a stream that failed");

export const sparseSummary = z
  .object({
    fetchedBytes: z
      .int()
      .min(0)
      .describe("Keys and values fetched by the first of the ranks that computed it"),
    availableBytes: z
      .int()
      .min(0)
      .describe("Keys and values of other ranks that its queries could see, as the model holds them"),
    fetchedShare: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe("The same by keys instead of bytes, however they were written for the link"),
    massMean: z.number().min(0).max(1).describe("Mean share of attention that audited queries covered"),
    massP01: z.number().min(0).max(1).describe("Share that 99 in 100 of them reached"),
  })
  .describe("What sparse attention fetched and covered in one prefill");

export const prefillProgress = z
  .object({
    type: z.literal("progress"),
    layersDone: z.int().min(0),
    layers: z.int().min(1),
  })
  .describe("Layers of the prompt that are done; sent while a prefill runs");

export const prefillDone = z
  .object({
    type: z.literal("done"),
    degree: z.int().min(1).describe("SP degree that served it"),
    ranks: z.array(z.string()),
    computeMs: z.number().min(0),
    kvBytesPushed: z.int().min(0),
    reusedTokens: z
      .int()
      .min(0)
      .optional()
      .describe("Prompt tokens whose KV was read from the pool instead of computed. Absent: 0"),
    sparse: sparseSummary.optional().describe("Absent when attention was exact"),
  })
  .describe("Last event of a prefill: its KV lies acknowledged in the reserved pages");

export const prefillEvent = z.discriminatedUnion("type", [
  prefillProgress,
  tokenEvent,
  prefillDone,
  errorEvent,
]);

/** POST /v1/decode, gateway → pool coordinator. Answer: NDJSON of decodeEvent. */
export const decodeRequest = z
  .object({
    requestId,
    promptTokens: z.int().min(1).describe("Tokens whose KV the prefill pushed"),
    firstToken: tokenId.describe("Sampled by the prefill group; its KV is written by the first decode step"),
    sampling,
    maxNewTokens: z.int().min(0).describe("Tokens still wanted after firstToken"),
    stopTokenIds: z.array(tokenId).describe("The stream ends after one of these is produced; it is reported"),
    shareable: z
      .boolean()
      .optional()
      .describe(
        "The prompt's KV is exact: its full pages may serve other prompts that begin alike. Absent: no",
      ),
  })
  .describe("POST /v1/decode, gateway to pool coordinator; answered by NDJSON of DecodeEvent");

export const sparseDecodeSummary = z
  .object({
    readShare: z.number().min(0).max(1).describe("Keys of full pages that steps read, of all there were"),
    massMean: z
      .number()
      .min(0)
      .max(1)
      .describe("Mean share of attention that was covered, taken exactly in one layer of each step"),
    leftBound: z
      .number()
      .min(0)
      .max(1)
      .describe("Mean over layers of the most that could have been left out, as digests tell"),
  })
  .describe("What steps that choose blocks read and covered of one request");

export const decodeDone = z
  .object({
    type: z.literal("done"),
    reason: z.enum(["stop", "length", "cancelled"]),
    tokens: z.int().min(0),
    ranks: z.array(z.string()).describe("Holders that took part"),
    sparse: sparseDecodeSummary.optional().describe("Absent when every step was exact"),
  })
  .describe("Last event of a decode stream that ended as asked");

export const decodeEvent = z.discriminatedUnion("type", [tokenEvent, decodeDone, errorEvent]);

/** POST /v1/cancel, gateway → any rank of the group; answers 200 whether or not the request is known. */
export const cancelRequest = z
  .object({
    requestId,
    passedOn: z
      .boolean()
      .optional()
      .describe(
        "From a rank that does not coordinate: whoever doesn't either refuses it, where it would pass on another's. Absent: no",
      ),
  })
  .describe(
    "POST /v1/cancel, gateway to any rank of a group: end a request and free its pages, wherever it is coordinated",
  );

export type Sampling = z.infer<typeof sampling>;
export type ReserveRequest = z.infer<typeof reserveRequest>;
export type PagePlace = z.infer<typeof pagePlace>;
export type Reservation = z.infer<typeof reservation>;
export type PrefillRequest = z.infer<typeof prefillRequest>;
export type PrefillEvent = z.infer<typeof prefillEvent>;
export type DecodeRequest = z.infer<typeof decodeRequest>;
export type DecodeEvent = z.infer<typeof decodeEvent>;
export type TokenEvent = z.infer<typeof tokenEvent>;
export type CancelRequest = z.infer<typeof cancelRequest>;
