/** The JSON of answers: whole and in chunks, for completions and for chat. */
import type { GeneratedToken, GenerationTrace } from "../serving/generation.ts";
import type { TokenTable } from "../speech/tokenBytes.ts";
import { chatLogprobs, completionLogprobs } from "./logprobs.ts";

export type FinishReason = "stop" | "length";

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: {
    /** Tokens whose keys and values were reused instead of computed. */
    readonly cached_tokens: number;
  };
}

/** A field that is not of OpenAI's API and that its clients pass over: where the answer was made. */
export interface Whereabouts {
  readonly request_id: string;
  readonly prefill_ranks: readonly string[];
  readonly decode_ranks: readonly string[];
  readonly recoveries: number;
  readonly ttft_ms: number | null;
}

export function whereabouts(
  requestId: string,
  trace: GenerationTrace,
  ttftMs: number | undefined,
): Whereabouts {
  return {
    request_id: requestId,
    prefill_ranks: trace.prefillRanks,
    decode_ranks: trace.decodeRanks,
    recoveries: trace.recoveries,
    ttft_ms: ttftMs === undefined ? null : Math.round(ttftMs),
  };
}

/** A piece of a choice, or all of it. */
export interface Piece {
  readonly index: number;
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
  /** Length of the choice's text before this piece. */
  readonly offset: number;
}

/** How one API writes answers; `wantLogprobs` says whether tokens go along. */
export interface AnswerForm {
  readonly idPrefix: string;
  readonly wholeObject: string;
  readonly chunkObject: string;
  /** Choices of the chunks that come before any text. */
  opening(index: number): object | undefined;
  piece(piece: Piece, table: TokenTable, wantLogprobs: boolean): object;
  closing(index: number, reason: FinishReason): object;
  whole(piece: Piece, reason: FinishReason, table: TokenTable, wantLogprobs: boolean): object;
}

export const completionForm: AnswerForm = {
  idPrefix: "cmpl",
  wholeObject: "text_completion",
  chunkObject: "text_completion",
  opening: () => undefined,
  piece: ({ index, text, tokens, offset }, table, wantLogprobs) => ({
    index,
    text,
    logprobs: wantLogprobs ? completionLogprobs(table, tokens, offset) : null,
    finish_reason: null,
  }),
  closing: (index, reason) => ({ index, text: "", logprobs: null, finish_reason: reason }),
  whole: ({ index, text, tokens }, reason, table, wantLogprobs) => ({
    index,
    text,
    logprobs: wantLogprobs ? completionLogprobs(table, tokens, 0) : null,
    finish_reason: reason,
  }),
};

export const chatForm: AnswerForm = {
  idPrefix: "chatcmpl",
  wholeObject: "chat.completion",
  chunkObject: "chat.completion.chunk",
  opening: (index) => ({
    index,
    delta: { role: "assistant", content: "", refusal: null },
    logprobs: null,
    finish_reason: null,
  }),
  piece: ({ index, text, tokens }, table, wantLogprobs) => ({
    index,
    delta: { content: text },
    logprobs: wantLogprobs ? chatLogprobs(table, tokens) : null,
    finish_reason: null,
  }),
  closing: (index, reason) => ({ index, delta: {}, logprobs: null, finish_reason: reason }),
  whole: ({ index, text, tokens }, reason, table, wantLogprobs) => ({
    index,
    message: { role: "assistant", content: text, refusal: null },
    logprobs: wantLogprobs ? { ...chatLogprobs(table, tokens), refusal: null } : null,
    finish_reason: reason,
  }),
};
