/**
 * The one error form of the control API: a stable code from a closed list and a sentence for a person.
 * HTTP status: 400 bad_request | 401 unauthorized | 404 unknown_request | 409 stale_fence, stale_epoch,
 * not_coordinator, wrong_incarnation | 422 prompt_too_long | 429 out_of_pages | 503 not_ready, draining,
 * epoch_broken, lost_pages | 504 deadline_exceeded | 500 internal.
 */
import { z } from "zod";
import { rankRef } from "./identity.ts";

export const failureCode = z.enum([
  "bad_request",
  "unauthorized",
  "unknown_request",
  "stale_fence",
  "stale_epoch",
  "not_coordinator",
  "wrong_incarnation",
  "prompt_too_long",
  "out_of_pages",
  "not_ready",
  "draining",
  "epoch_broken",
  "lost_pages",
  "deadline_exceeded",
  "internal",
]);

export const failure = z
  .object({
    code: failureCode,
    message: z.string().describe("A sentence that names the field, the value and the rule"),
    coordinator: rankRef.optional().describe("With not_coordinator: whom to ask instead"),
    missingPages: z.int().min(0).optional().describe("With out_of_pages: how many KV pages were missing"),
    freePages: z.int().min(0).optional().describe("With out_of_pages: how many KV pages were free"),
    retryAfterMs: z.int().min(0).optional().describe("When trying again may succeed"),
  })
  .describe("The one error form of the control API: a code from a closed list and a sentence");

export type FailureCode = z.infer<typeof failureCode>;
export type Failure = z.infer<typeof failure>;
