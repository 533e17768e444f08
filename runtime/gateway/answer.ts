/** From a parsed question to its answer: whole, or as events. */
import { unavailable } from "./api/apiError.ts";
import { answerInEvents } from "./answerEvents.ts";
import type { AnswerDeps, Choice, Question, Run } from "./answerRun.ts";
import { headersOf, startRun, usage, whereaboutsOf } from "./answerRun.ts";
import type { WaitingRoom } from "./demand/waitingRoom.ts";
import type { Exchange } from "./http/exchange.ts";
import type { ModelSource } from "./ranks/modelSource.ts";
import type { GeneratedToken } from "./serving/generation.ts";
import type { Speech } from "./speech/speech.ts";

/** The present model's speech, once ranks serve; 503 while no rank has told of it. */
export async function speechOf(
  model: ModelSource,
  waitingRoom: WaitingRoom,
  signal: AbortSignal,
): Promise<Speech> {
  await waitingRoom.pass(signal);
  // Ranks that seemed to serve may have been given back a moment ago: a failed call tells, and others are waited for.
  const speech = (await model.current()) ?? (await waitingRoom.pass(signal).then(() => model.current()));
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
    usage: usage(run, completionTokens),
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
