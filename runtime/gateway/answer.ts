/** From a parsed request to its answer: orders, choices, and one writer for whole answers and one for streams. */
import { randomInt } from "node:crypto";
import { badRequest, contextLengthExceeded, unavailable } from "./api/apiError.ts";
import type { AnswerForm } from "./api/answerForm.ts";
import { whereabouts } from "./api/answerForm.ts";
import { eventWriter } from "./http/sse.ts";
import type { Exchange } from "./http/exchange.ts";
import type { Metrics } from "./metrics.ts";
import type { ModelSource } from "./ranks/modelSource.ts";
import type { ChoiceEvent } from "./serving/choice.ts";
import { speakChoice } from "./serving/choice.ts";
import type { GenerateDeps } from "./serving/generate.ts";
import { generate } from "./serving/generate.ts";
import type { GeneratedToken, GenerationOrder, GenerationTrace } from "./serving/generation.ts";
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

/** The present model's speech; 503 while no rank has told of it. */
export async function speechOf(model: ModelSource): Promise<Speech> {
  const speech = await model.current();
  if (speech === undefined) throw unavailable("The model is not loaded yet; try again in a moment.");
  return speech;
}

/** Checks lengths and answers; throws ApiError while nothing has been sent. */
export async function answer(
  deps: AnswerDeps,
  speech: Speech,
  question: Question,
  exchange: Exchange,
): Promise<void> {
  const run = startRun(deps, speech, question, exchange);
  if (question.stream) await answerInEvents(deps, run);
  else await answerWhole(deps, run);
}

interface Choice {
  readonly index: number;
  readonly trace: GenerationTrace;
  readonly events: AsyncGenerator<ChoiceEvent, void, undefined>;
}

interface Run {
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

function startRun(deps: AnswerDeps, speech: Speech, question: Question, exchange: Exchange): Run {
  const { descriptor } = speech;
  const seed = question.seed ?? randomInt(2 ** 47);
  let ttftMs: number | undefined;
  const choices = question.prompts.map((promptIds, index) => {
    const trace = emptyTrace();
    const order: GenerationOrder = {
      id: `${exchange.requestId}.${String(index)}`,
      promptIds,
      maxNewTokens: newTokensFor(promptIds, question, speech),
      sampling: {
        temperature: question.temperature,
        topP: question.topP,
        seed,
        logprobs: question.topLogprobs,
        wantLogprobs: question.wantLogprobs,
      },
      stopTokenIds: descriptor.eosTokenIds,
      signal: exchange.signal,
      trace,
    };
    let lastMs: number | undefined;
    const tokenCame = (): void => {
      const nowMs = exchange.elapsedMs();
      if (ttftMs === undefined) deps.metrics.timeToFirstToken.observe(nowMs / 1000);
      ttftMs ??= nowMs;
      if (lastMs !== undefined) deps.metrics.interTokenLatency.observe((nowMs - lastMs) / 1000);
      lastMs = nowMs;
      deps.metrics.generatedTokens.inc();
    };
    const events = speakChoice(generate(deps.generation, order), order, {
      speech,
      stops: question.stops,
      tokenCame,
    });
    return { index, trace, events };
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

async function answerWhole(deps: AnswerDeps, run: Run): Promise<void> {
  const { question, speech, exchange } = run;
  const pieces = await Promise.all(run.choices.map(async (choice) => await collect(choice)));
  const completionTokens = pieces.reduce((sum, { completionTokens: count }) => sum + count, 0);
  for (const [name, value] of Object.entries(headersOf(run))) exchange.response.setHeader(name, value);
  exchange.response.json({
    id: run.id,
    object: question.form.wholeObject,
    created: run.created,
    model: run.model,
    choices: pieces.map(({ text, tokens, reason }, index) =>
      question.form.whole({ index, text, tokens, offset: 0 }, reason, speech.table, question.wantLogprobs),
    ),
    usage: usage(run.promptTokens, completionTokens),
    csps: whereaboutsOf(run),
  });
}

async function collect({ events }: Choice) {
  const texts: string[] = [];
  const tokens: GeneratedToken[] = [];
  for await (const event of events) {
    if (event.type === "text") {
      texts.push(event.text);
      tokens.push(...event.tokens);
    } else if (event.type === "end") {
      return { text: texts.join(""), tokens, reason: event.reason, completionTokens: event.completionTokens };
    }
  }
  throw new Error("a choice ended without its end");
}

async function answerInEvents(deps: AnswerDeps, run: Run): Promise<void> {
  const { question, exchange } = run;
  const writer = eventWriter(exchange.response);
  const open = (): void => {
    writer.open(headersOf(run));
  };
  // Until the first token an error still has an HTTP status; past this time a proxy's patience matters more.
  const timer = setTimeout(open, deps.openStreamMs);
  const chunk = (choices: object[], extra: object = {}): object => ({
    id: run.id,
    object: question.form.chunkObject,
    created: run.created,
    model: run.model,
    choices,
    ...(question.includeUsage ? { usage: null } : {}),
    ...extra,
  });
  try {
    const counts = await Promise.all(
      run.choices.map((choice) => writeChoice(run, choice, { open, writer, chunk })),
    );
    if (question.includeUsage) {
      const total = counts.reduce((sum, count) => sum + count, 0);
      await writer.data(chunk([], { usage: usage(run.promptTokens, total) }));
    }
    writer.done();
  } catch (error) {
    exchange.abandon();
    if (!writer.opened || exchange.response.destroyed) throw error;
    await writer.data(exchange.failed(error).body);
    writer.done();
  } finally {
    clearTimeout(timer);
  }
}

interface ChunkWriter {
  readonly open: () => void;
  readonly writer: ReturnType<typeof eventWriter>;
  readonly chunk: (choices: object[], extra?: object) => object;
}

/** Writes one choice's chunks; returns the number of its tokens. */
async function writeChoice(run: Run, choice: Choice, { open, writer, chunk }: ChunkWriter): Promise<number> {
  const { question, speech } = run;
  const { form, wantLogprobs } = question;
  let offset = 0;
  let begun = false;
  const begin = async (): Promise<void> => {
    if (begun) return;
    begun = true;
    open();
    const opening = form.opening(choice.index);
    if (opening !== undefined) await writer.data(chunk([opening]));
  };
  for await (const event of choice.events) {
    if (event.type === "progress") {
      writer.comment(`prefill ${String(event.layersDone)}/${String(event.layers)} layers`);
    } else if (event.type === "text") {
      await begin();
      if (event.text === "" && !(wantLogprobs && event.tokens.length > 0)) continue;
      const piece = { index: choice.index, text: event.text, tokens: event.tokens, offset };
      await writer.data(chunk([form.piece(piece, speech.table, wantLogprobs)]));
      offset += event.text.length;
    } else {
      await begin();
      const where = whereabouts(run.exchange.requestId, choice.trace, run.ttftMs());
      await writer.data(chunk([form.closing(choice.index, event.reason)], { csps: where }));
      return event.completionTokens;
    }
  }
  throw new Error("a choice ended without its end");
}

function usage(promptTokens: number, completionTokens: number): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
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
  };
}

function whereaboutsOf(run: Run): object {
  return whereabouts(run.exchange.requestId, wholeTrace(run), run.ttftMs());
}

/** What is known when the head is sent; a stream tells the rest with its last chunk. */
function headersOf(run: Run): Record<string, string> {
  const trace = wholeTrace(run);
  const ttftMs = run.ttftMs();
  return {
    ...(trace.prefillRanks.length === 0 ? {} : { "x-csps-prefill-ranks": trace.prefillRanks.join(",") }),
    ...(trace.decodeRanks.length === 0 ? {} : { "x-csps-decode-ranks": trace.decodeRanks.join(",") }),
    ...(ttftMs === undefined ? {} : { "x-csps-ttft-ms": String(Math.round(ttftMs)) }),
  };
}
