/** How one call to a rank travels: HTTP, bearer token, deadlines, answers checked against their schema. */
import type { Dispatcher } from "undici";
import { z } from "zod";
import { MalformedLine, parseLines } from "./ndjson.ts";
import type { RankEndpoint } from "./rankEndpoint.ts";
import { RankFailure, statedFailure, targetName } from "./rankFailure.ts";
import type { Failure } from "./schema/failure.ts";
import { failure } from "./schema/failure.ts";

export interface CallContext {
  readonly dispatcher: Dispatcher;
  readonly token: () => string;
}

/** An event of a stream that is not its failure: failures are thrown. */
export type Succeeding<Event extends { type: string }> = Exclude<Event, { type: "error" }>;

interface Call {
  readonly target: RankEndpoint;
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** How long a rank may take to end its answer after the last event; then the connection is dropped. */
const endOfAnswerMs = 500;

/** A failed answer may be wrapped as `{error: …}` or bare; both are read. */
const failedAnswer = z.union([failure, z.object({ error: failure }).transform((wrapped) => wrapped.error)]);

/** Sends a call and parses its whole answer. */
export async function callJson<T>(
  context: CallContext,
  call: Call & { readonly deadlineMs: number },
  schema: z.ZodType<T>,
): Promise<T> {
  const watch = startWatch(call.deadlineMs, call.signal);
  try {
    const { answer, target } = await sendFollowing(context, call, watch);
    const body = await guarded(target, watch, () => answer.body.json());
    return parsed(schema, body, target);
  } finally {
    watch.stop();
  }
}

/** Sends a call and yields the events of its answer; see `RankClient.prefill` for how it ends. */
export async function* openStream<Event extends { type: string }>(
  context: CallContext,
  call: Omit<Call, "method"> & { readonly idleMs: number },
  schema: z.ZodType<Event>,
): AsyncGenerator<Succeeding<Event>, void, undefined> {
  const watch = startWatch(call.idleMs, call.signal);
  let finished: Promise<unknown> | undefined;
  try {
    const { answer, target } = await sendFollowing(context, { ...call, method: "POST" }, watch);
    const lines = parseLines(answer.body);
    for (;;) {
      const line = await guarded(target, watch, () => lines.next());
      if (line.done === true)
        throw new RankFailure("unreachable", target, `${call.path} broke off before its last event`);
      const event = parsed(schema, line.value, target);
      if (isFailed(event)) throw statedFailure(target, event.error);
      // The watch rests while the consumer works: it measures the rank's silence, not the client's slowness.
      watch.rest();
      // Reading to the end of a finished answer is what lets its connection be used again.
      if (event.type === "done") finished = lines.next();
      yield event as Succeeding<Event>;
      if (finished !== undefined) return;
      watch.rearm();
    }
  } finally {
    if (finished === undefined) watch.abandon();
    else void abandonAfter(finished, watch);
  }
}

async function abandonAfter(finished: Promise<unknown>, watch: Watch): Promise<void> {
  const patience = AbortSignal.timeout(endOfAnswerMs);
  patience.addEventListener("abort", watch.abandon, { once: true });
  await finished.catch(() => undefined);
  patience.removeEventListener("abort", watch.abandon);
  watch.abandon();
}

function isFailed(event: { type: string }): event is { type: "error"; error: Failure } {
  return event.type === "error";
}

interface Answer {
  readonly answer: Dispatcher.ResponseData;
  readonly target: string;
}

/** Sends a call, and once more to the coordinator when the rank names another one. */
async function sendFollowing(context: CallContext, call: Call, watch: Watch): Promise<Answer> {
  const first = await send(context, call, watch);
  if (first.answer.statusCode < 300) return first;
  const refusal = await readRefusal(first, watch);
  const coordinator = refusal.failure?.coordinator;
  if (refusal.code !== "not_coordinator" || coordinator === undefined) throw refusal;
  const second = await send(context, { ...call, target: coordinator }, watch);
  if (second.answer.statusCode < 300) return second;
  throw await readRefusal(second, watch);
}

async function send(context: CallContext, call: Call, watch: Watch): Promise<Answer> {
  const target = targetName(call.target);
  const answer = await guarded(target, watch, () =>
    context.dispatcher.request({
      origin: `http://${target}`,
      method: call.method,
      path: call.path,
      headers: {
        authorization: `Bearer ${context.token()}`,
        ...(call.body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: call.body === undefined ? null : JSON.stringify(call.body),
      signal: watch.signal,
      // The watch is the one clock; undici's own would give a second kind of error.
      headersTimeout: 0,
      bodyTimeout: 0,
    }),
  );
  return { answer, target };
}

async function readRefusal({ answer, target }: Answer, watch: Watch): Promise<RankFailure> {
  const text = await guarded(target, watch, () => answer.body.text());
  const stated = failedAnswer.safeParse(parsedOrUndefined(text));
  if (stated.success) return statedFailure(target, stated.data);
  return new RankFailure(
    "malformed_answer",
    target,
    `HTTP ${String(answer.statusCode)} without a failure: ${text.slice(0, 120)}`,
  );
}

function parsedOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function parsed<T>(schema: z.ZodType<T>, value: unknown, target: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new RankFailure("malformed_answer", target, z.prettifyError(result.error), { cause: result.error });
}

/** Runs one step of a call and names its failure: the caller's abort, the deadline, or the connection. */
async function guarded<T>(target: string, watch: Watch, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (cause) {
    if (cause instanceof RankFailure) throw cause;
    if (watch.expired())
      throw new RankFailure("deadline_exceeded", target, `no answer within ${String(watch.limitMs)} ms`, {
        cause,
      });
    if (watch.signal.aborted) throw new RankFailure("aborted", target, "the caller gave up", { cause });
    if (cause instanceof MalformedLine || cause instanceof SyntaxError) {
      throw new RankFailure("malformed_answer", target, cause.message, { cause });
    }
    throw new RankFailure("unreachable", target, cause instanceof Error ? cause.message : String(cause), {
      cause,
    });
  }
}

/** One abort signal made of a deadline that can be rearmed and the caller's own signal. */
interface Watch {
  readonly signal: AbortSignal;
  readonly limitMs: number;
  expired(): boolean;
  rest(): void;
  rearm(): void;
  stop(): void;
  readonly abandon: () => void;
}

function startWatch(limitMs: number, outer: AbortSignal | undefined): Watch {
  const controller = new AbortController();
  let expired = false;
  let timer: NodeJS.Timeout | undefined;
  const abort = (): void => {
    controller.abort();
  };
  const rest = (): void => {
    clearTimeout(timer);
  };
  const rearm = (): void => {
    rest();
    timer = setTimeout(() => {
      expired = true;
      controller.abort();
    }, limitMs);
  };
  const stop = (): void => {
    rest();
    outer?.removeEventListener("abort", abort);
  };
  if (outer?.aborted === true) abort();
  outer?.addEventListener("abort", abort, { once: true });
  rearm();
  return {
    signal: controller.signal,
    limitMs,
    expired: () => expired,
    rest,
    rearm,
    stop,
    abandon() {
      stop();
      controller.abort();
    },
  };
}
