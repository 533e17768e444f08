/** An answer as server-sent events. */
import { whereabouts } from "./api/answerForm.ts";
import type { AnswerDeps, Choice, Run } from "./answerRun.ts";
import { headersOf, usage } from "./answerRun.ts";
import { eventWriter } from "./http/sse.ts";

export async function answerInEvents(deps: AnswerDeps, run: Run): Promise<void> {
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
      await writer.data(chunk([], { usage: usage(run, total) }));
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
