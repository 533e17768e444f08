/** What a generation is asked and what it tells: the words between the API and the ranks. */
import type { Sampling } from "../../wire/schema/serving.ts";

export interface GeneratedToken {
  readonly tokenId: number;
  readonly logprob?: number;
  readonly topLogprobs?: readonly { readonly tokenId: number; readonly logprob: number }[];
}

/** One prompt to continue. */
export interface GenerationOrder {
  /** Unique; attempts derive their own ids from it. */
  readonly id: string;
  readonly promptIds: readonly number[];
  /** Only prompts with the same one share its KV. */
  readonly cacheSalt: string | undefined;
  readonly maxNewTokens: number;
  readonly sampling: Sampling;
  /** A token of these ends the generation; it is not part of the text. */
  readonly stopTokenIds: readonly number[];
  /** Aborted when nobody listens any more. */
  readonly signal: AbortSignal;
  /** Filled in while the generation runs. */
  readonly trace: GenerationTrace;
}

/** Where a generation ran and what it met. */
export interface GenerationTrace {
  prefillRanks: readonly string[];
  decodeRanks: readonly string[];
  /** How often it went on elsewhere. */
  recoveries: number;
  /** Prompt tokens whose KV the pool held already. */
  cachedTokens: number;
}

export function emptyTrace(): GenerationTrace {
  return { prefillRanks: [], decodeRanks: [], recoveries: 0, cachedTokens: 0 };
}

export type GenerationEvent =
  | { readonly type: "progress"; readonly layersDone: number; readonly layers: number }
  | { readonly type: "token"; readonly token: GeneratedToken }
  | { readonly type: "end"; readonly reason: "stop" | "length" };

/** Times that bound a generation. */
export interface Patience {
  /** A new request waits this long for pages, or for a group that was there a moment ago. */
  readonly queueMs: number;
  /** A broken request waits this long for a group and pages to go on with. */
  readonly stallMs: number;
  /** Prefills in a row that may fail before a token is decoded. */
  readonly attempts: number;
  /** Longest silence of a prefill, which may stand in a group's queue; a dead rank shows sooner by not being seen. */
  readonly prefillIdleMs: number;
  readonly decodeIdleMs: number;
  /** A rank unseen for so long is taken for dead, and what runs there is broken off. */
  readonly unseenMs: number;
}

export const defaultPatience: Patience = {
  queueMs: 10_000,
  stallMs: 60_000,
  attempts: 4,
  prefillIdleMs: 600_000,
  decodeIdleMs: 20_000,
  unseenMs: 10_000,
};
