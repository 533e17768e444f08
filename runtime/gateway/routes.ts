/** The endpoints of the OpenAI API: from a body to a question, and the list of models. */
import type { Request, Response } from "express";
import type { AnswerDeps, Question } from "./answerRun.ts";
import { answer, speechOf } from "./answer.ts";
import { ApiError } from "./api/apiError.ts";
import { chatForm, completionForm } from "./api/answerForm.ts";
import { parseChatRequest } from "./api/chatRequest.ts";
import type { CompletionRequest } from "./api/completionRequest.ts";
import { parseCompletionRequest, promptsOf } from "./api/completionRequest.ts";
import type { WaitingRoom } from "./demand/waitingRoom.ts";
import type { Exchange } from "./http/exchange.ts";
import type { Speech } from "./speech/speech.ts";

export interface RouteDeps extends AnswerDeps {
  readonly modelName: string;
  readonly startedSeconds: number;
  readonly waitingRoom: WaitingRoom;
}

type Handler = (body: unknown, exchange: Exchange) => Promise<void>;

/** OpenAI's default of the older API; chat goes on to the context's end. */
const defaultCompletionTokens = 16;

export function completions(deps: RouteDeps): Handler {
  return async (body, exchange) => {
    const request = parseCompletionRequest(body);
    requireModel(deps, request.model);
    const speech = await speechOf(deps.model, deps.waitingRoom, exchange.signal);
    const question: Question = {
      ...shared(request),
      form: completionForm,
      prompts: await promptIds(speech, request),
      maxNewTokens: request.max_tokens ?? defaultCompletionTokens,
      wantLogprobs: request.logprobs !== undefined,
      topLogprobs: request.logprobs ?? 0,
    };
    await answer(deps, speech, question, exchange);
  };
}

async function promptIds(speech: Speech, request: CompletionRequest): Promise<number[][]> {
  const ids: number[][] = [];
  for (const prompt of promptsOf(request)) {
    ids.push(typeof prompt === "string" ? await speech.promptIds(prompt) : prompt);
  }
  return ids;
}

export function chatCompletions(deps: RouteDeps): Handler {
  return async (body, exchange) => {
    const request = parseChatRequest(body);
    requireModel(deps, request.model);
    const speech = await speechOf(deps.model, deps.waitingRoom, exchange.signal);
    const question: Question = {
      ...shared(request),
      form: chatForm,
      prompts: [await speech.chatIds(request.messages)],
      maxNewTokens: request.max_completion_tokens ?? request.max_tokens,
      wantLogprobs: request.logprobs === true,
      topLogprobs: request.top_logprobs ?? 0,
    };
    await answer(deps, speech, question, exchange);
  };
}

function shared(request: {
  readonly stop: string | string[] | undefined;
  readonly temperature: number | undefined;
  readonly top_p: number | undefined;
  readonly seed: number | undefined;
  readonly stream: boolean | undefined;
  readonly cache_salt: string | undefined;
  readonly ignore_eos: boolean | undefined;
  readonly stream_options: { readonly include_usage: boolean | undefined } | undefined;
}) {
  const { stop = [], temperature = 1, top_p: topP = 1, seed, stream = false } = request;
  return {
    stops: typeof stop === "string" ? [stop] : stop,
    temperature,
    topP,
    // Seeds are signed in OpenAI's API and not on the wire.
    seed: seed === undefined ? undefined : seed < 0 ? seed + Number.MAX_SAFE_INTEGER : seed,
    stream,
    cacheSalt: request.cache_salt,
    ignoreEos: request.ignore_eos ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
  };
}

export function listModels(deps: RouteDeps) {
  return async (_request: Request, response: Response): Promise<void> => {
    response.json({ object: "list", data: [await modelObject(deps)] });
  };
}

export function showModel(deps: RouteDeps) {
  return async (request: Request, response: Response): Promise<void> => {
    // Names of models may hold slashes.
    const { id } = request.params;
    requireModel(deps, Array.isArray(id) ? id.join("/") : (id ?? ""));
    response.json(await modelObject(deps));
  };
}

async function modelObject(deps: RouteDeps): Promise<object> {
  const speech = await deps.model.current();
  const length = speech === undefined ? {} : { max_model_len: speech.descriptor.contextLength };
  return { id: deps.modelName, object: "model", created: deps.startedSeconds, owned_by: "csps", ...length };
}

function requireModel({ modelName }: RouteDeps, asked: string): void {
  if (asked === modelName) return;
  throw new ApiError({
    status: 404,
    type: "invalid_request_error",
    code: "model_not_found",
    message: `The model ${JSON.stringify(asked)} does not exist; this endpoint serves ${JSON.stringify(modelName)}.`,
    param: "model",
  });
}
