/** What an answer is made of: the question, its choices under way, and what is known of where they run. */
import { randomInt } from "node:crypto";
import { badRequest, contextLengthExceeded } from "./api/apiError.ts";
import type { AnswerForm, Usage } from "./api/answerForm.ts";
import { whereabouts } from "./api/answerForm.ts";
import { countedChoice } from "./demand/countedChoice.ts";
import type { Exchange } from "./http/exchange.ts";
import type { Metrics } from "./metrics.ts";
import type { ModelSource } from "./ranks/modelSource.ts";
import type { ChoiceEvent } from "./serving/choice.ts";
import { speakChoice } from "./serving/choice.ts";
import type { GenerateDeps } from "./serving/generate.ts";
import { generate } from "./serving/generate.ts";
import type { GenerationOrder, GenerationTrace } from "./serving/generation.ts";
import { emptyTrace } from "./serving/generation.ts";
import type { Speech } from "./speech/speech.ts";

/** What both APIs ask for, in one form. */
export interface Question {
  readonly form: AnswerForm;
  /** Token ids of each prompt; one choice each. */
  readonly prompts: readonly (readonly number[])[];
  /** Undefined: up to the context's end. */
  readonly maxNewTokens: number | undefined;
  readonly stops: readonly string[];
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number | undefined;
  readonly wantLogprobs: boolean;
  readonly topLogprobs: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Only prompts with the same one share KV. */
  readonly cacheSalt: string | undefined;
  /** The model's end tokens end nothing; stop strings and the token limit do. */
  readonly ignoreEos: boolean;
}

export interface AnswerDeps {
  readonly generation: GenerateDeps;
  readonly model: ModelSource;
  readonly metrics: Metrics;
  /** Unix seconds. */
  readonly nowSeconds: () => number;
  /** A stream's head is sent by then, even while its prompt is still prefilled. */
  readonly openStreamMs: number;
}

export interface Choice {
  readonly index: number;
  readonly trace: GenerationTrace;
  readonly events: AsyncGenerator<ChoiceEvent, void, undefined>;
}

export interface Run {
  readonly question: Question;
  readonly speech: Speech;
  readonly exchange: Exchange;
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly promptTokens: number;
  readonly choices: readonly Choice[];
  /** From receipt to the first token of any choice. */
  ttftMs(): number | undefined;
}

export function startRun(deps: AnswerDeps, speech: Speech, question: Question, exchange: Exchange): Run {
  const { descriptor } = speech;
  const seed = question.seed ?? randomInt(2 ** 47);
  let ttftMs: number | undefined;
  const choices = question.prompts.map((promptIds, index) => {
    const trace = emptyTrace();
    const order: GenerationOrder = {
      id: `${exchange.requestId}.${String(index)}`,
      promptIds,
      cacheSalt: question.cacheSalt,
      maxNewTokens: newTokensFor(promptIds, question, speech),
      sampling: {
        temperature: question.temperature,
        topP: question.topP,
        seed,
        logprobs: question.topLogprobs,
        wantLogprobs: question.wantLogprobs,
      },
      stopTokenIds: question.ignoreEos ? [] : descriptor.eosTokenIds,
      signal: exchange.signal,
      trace,
    };
    let lastMs: number | undefined;
    let outputTokens = 0;
    const tokenCame = (): void => {
      const nowMs = exchange.elapsedMs();
      if (ttftMs === undefined) deps.metrics.timeToFirstToken.observe(nowMs / 1000);
      ttftMs ??= nowMs;
      if (lastMs !== undefined) deps.metrics.interTokenLatency.observe((nowMs - lastMs) / 1000);
      lastMs = nowMs;
      outputTokens += 1;
      deps.metrics.generatedTokens.inc();
    };
    const events = speakChoice(generate(deps.generation, order), order, {
      speech,
      stops: question.stops,
      tokenCame,
    });
    const counted = { promptTokens: promptIds.length, outputTokens: () => outputTokens };
    return { index, trace, events: countedChoice(deps.metrics.demand, counted, events) };
  });
  const promptTokens = question.prompts.reduce((sum, ids) => sum + ids.length, 0);
  deps.metrics.promptTokens.inc(promptTokens);
  return {
    question,
    speech,
    exchange,
    id: `${question.form.idPrefix}-${exchange.requestId}`,
    created: deps.nowSeconds(),
    model: descriptor.name,
    promptTokens,
    choices,
    ttftMs: () => ttftMs,
  };
}

function newTokensFor(promptIds: readonly number[], question: Question, { descriptor }: Speech): number {
  const { contextLength, vocabSize } = descriptor;
  const param = question.form.idPrefix === "chatcmpl" ? "messages" : "prompt";
  if (promptIds.length === 0) throw badRequest("The prompt is empty.", { param, code: "empty_prompt" });
  const unknown = promptIds.find((id) => id >= vocabSize);
  if (unknown !== undefined) {
    throw badRequest(`Token id ${String(unknown)} is not in the vocabulary of ${String(vocabSize)} tokens.`, {
      param,
      code: "invalid_value",
    });
  }
  const wanted = question.maxNewTokens ?? Math.max(1, contextLength - promptIds.length);
  if (promptIds.length + wanted > contextLength) {
    throw contextLengthExceeded({ promptTokens: promptIds.length, newTokens: wanted, contextLength, param });
  }
  return wanted;
}

export function usage(run: Run, completionTokens: number): Usage {
  const { promptTokens } = run;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: wholeTrace(run).cachedTokens },
  };
}

function wholeTrace({ choices }: Run): GenerationTrace {
  const each = <T>(pick: (trace: GenerationTrace) => readonly T[]): T[] => [
    ...new Set(choices.flatMap(({ trace }) => pick(trace))),
  ];
  return {
    prefillRanks: each(({ prefillRanks }) => prefillRanks),
    decodeRanks: each(({ decodeRanks }) => decodeRanks),
    recoveries: choices.reduce((sum, { trace }) => sum + trace.recoveries, 0),
    cachedTokens: choices.reduce((sum, { trace }) => sum + trace.cachedTokens, 0),
  };
}

export function whereaboutsOf(run: Run): object {
  return whereabouts(run.exchange.requestId, wholeTrace(run), run.ttftMs());
}

/** What is known when the head is sent; a stream tells the rest with its last chunk. */
export function headersOf(run: Run): Record<string, string> {
  const trace = wholeTrace(run);
  const ttftMs = run.ttftMs();
  return {
    ...(trace.prefillRanks.length === 0 ? {} : { "x-csps-prefill-ranks": trace.prefillRanks.join(",") }),
    ...(trace.decodeRanks.length === 0 ? {} : { "x-csps-decode-ranks": trace.decodeRanks.join(",") }),
    ...(ttftMs === undefined ? {} : { "x-csps-ttft-ms": String(Math.round(ttftMs)) }),
  };
}
