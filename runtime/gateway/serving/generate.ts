/**
 * One generation over ranks that may fail: reserve → prefill → decode. When a rank is lost on the way, prompt and
 * tokens so far are prefilled again on ranks that live and the stream goes on. Tokens are drawn by (seed,
 * position), so a second attempt draws what the first would have.
 */
import type { RankClient } from "../../wire/rankClient.ts";
import { RankFailure, targetName } from "../../wire/rankFailure.ts";
import type { TokenEvent } from "../../wire/schema/serving.ts";
import { ApiError, unavailable } from "../api/apiError.ts";
import type { RankView } from "../ranks/rankView.ts";
import type { Admission, Admitted } from "./admission.ts";
import { finalError, isFinal } from "./admission.ts";
import type { GeneratedToken, GenerationEvent, GenerationOrder, Patience } from "./generation.ts";
import type { Occupation } from "./occupations.ts";
import { watchRank } from "./watchRank.ts";

export interface GenerateDeps {
  readonly client: RankClient;
  readonly view: RankView;
  readonly admission: Admission;
  readonly patience: Patience;
  /** Told of each recovery when its cause is noticed; returns what to call at the next token. */
  readonly recovered: (recovery: Recovery) => () => void;
}

/** A generation that goes on elsewhere. */
export interface Recovery {
  readonly cause: string;
  readonly requestId: string;
  /** Of the prompt and the answer so far: they are prefilled again. */
  readonly tokens: number;
}

/** Where one attempt stands: what it has of the answer and whether it got past its prefill. */
interface Progress {
  readonly tokenIds: number[];
  decoded: boolean;
  /** Its prefill was exact, so that other prompts may share its KV. */
  exact: boolean;
  reason: "stop" | "length" | undefined;
  /** To be called at the next token: the generation speaks again. */
  resumed: (() => void) | undefined;
}

/** Yields tokens until the end; throws an ApiError, or the signal's reason. */
export async function* generate(
  deps: GenerateDeps,
  order: GenerationOrder,
): AsyncGenerator<GenerationEvent, void, undefined> {
  const { patience, admission, client, view } = deps;
  const progress: Progress = {
    tokenIds: [],
    decoded: false,
    exact: false,
    reason: undefined,
    resumed: undefined,
  };
  let failures = 0;
  for (let attempt = 0; ; attempt += 1) {
    const requestId = `${order.id}.${String(attempt)}`;
    const promptIds = [...order.promptIds, ...progress.tokenIds];
    const admitted = await admission.admit({
      requestId,
      promptIds,
      cacheSalt: order.cacheSalt,
      maxNewTokens: order.maxNewTokens - progress.tokenIds.length,
      leaseMs: leaseMs(promptIds.length),
      waitMs: attempt === 0 ? patience.queueMs : patience.stallMs,
      underWay: attempt > 0,
      signal: order.signal,
    });
    const occupation = admission.occupy(admitted.route, promptIds.length);
    let settled = false;
    try {
      progress.decoded = false;
      yield* runAttempt(deps, order, { requestId, admitted, occupation, progress });
      settled = true;
      if (progress.reason !== undefined) yield { type: "end", reason: progress.reason };
      return;
    } catch (error) {
      order.signal.throwIfAborted();
      if (!(error instanceof RankFailure)) throw error;
      if (isFinal(error) && error.code !== "aborted") throw finalError(error);
      failures = progress.decoded ? 1 : failures + 1;
      if (failures >= patience.attempts || isHopeless(error)) throw exhausted(error, failures);
      order.trace.recoveries += 1;
      const tokens = order.promptIds.length + progress.tokenIds.length;
      const resumed = deps.recovered({ cause: error.code, requestId: order.id, tokens });
      progress.resumed ??= resumed;
      const { group, pool } = admitted.route;
      for (const { coordinator } of [group, pool]) {
        if (targetName(coordinator) === error.target) view.suspect(coordinator.rankId);
      }
    } finally {
      occupation.ended();
      // Pages are freed at once; if this message is lost, the lease frees them.
      if (!settled || !progress.decoded) {
        for (const { coordinator } of [admitted.route.pool, admitted.route.group]) {
          void client.cancel(coordinator, requestId).catch(() => undefined);
        }
      }
    }
  }
}

async function* runAttempt(
  deps: GenerateDeps,
  order: GenerationOrder,
  attempt: {
    readonly requestId: string;
    readonly admitted: Admitted;
    readonly occupation: Occupation;
    readonly progress: Progress;
  },
): AsyncGenerator<GenerationEvent, void, undefined> {
  const { requestId, admitted, progress } = attempt;
  const { route, reservation } = admitted;
  const tokenIds = [...order.promptIds, ...progress.tokenIds];
  order.trace.prefillRanks = route.group.members;
  order.trace.decodeRanks = reservation.holders.map(({ rankId }) => rankId);

  const firstToken = yield* prefill(deps, order, { ...attempt, tokenIds });
  attempt.occupation.prefilled();
  if (order.stopTokenIds.includes(firstToken)) progress.reason = "stop";
  else if (progress.tokenIds.length >= order.maxNewTokens) progress.reason = "length";
  if (progress.reason !== undefined) return;

  const watch = watchRank(deps.view, route.pool.coordinator, deps.patience.unseenMs, order.signal);
  try {
    const body = {
      requestId,
      promptTokens: tokenIds.length,
      firstToken,
      sampling: order.sampling,
      maxNewTokens: order.maxNewTokens - progress.tokenIds.length,
      stopTokenIds: [...order.stopTokenIds],
      shareable: progress.exact,
    };
    let expected = 1;
    const options = { idleMs: deps.patience.decodeIdleMs, signal: watch.signal };
    for await (const event of deps.client.decode(route.pool.coordinator, body, options)) {
      if (event.type === "done") {
        if (event.reason === "cancelled")
          throw lost(route.pool.coordinator, "the pool cancelled the request");
        progress.reason = event.reason;
        return;
      }
      // Told twice is harmless; a gap would be a wrong answer.
      if (event.index < expected) continue;
      if (event.index > expected)
        throw lost(route.pool.coordinator, `token ${String(expected)} was never told`);
      expected += 1;
      progress.decoded = true;
      yield take(event, progress);
    }
  } finally {
    watch.stop();
  }
}

/** Runs the prefill to its end and returns the first token. */
async function* prefill(
  { client, view, patience }: GenerateDeps,
  order: GenerationOrder,
  attempt: {
    readonly requestId: string;
    readonly admitted: Admitted;
    readonly progress: Progress;
    readonly tokenIds: readonly number[];
  },
): AsyncGenerator<GenerationEvent, number, undefined> {
  const { requestId, admitted, progress, tokenIds } = attempt;
  const { coordinator } = admitted.route.group;
  const watch = watchRank(view, coordinator, patience.unseenMs, order.signal);
  let firstToken: number | undefined;
  try {
    const body = {
      requestId,
      tokenIds: [...tokenIds],
      sampling: order.sampling,
      ...(admitted.degree === undefined ? {} : { degree: admitted.degree }),
      ...(admitted.exact ? { attention: "dense" as const } : {}),
      reservation: admitted.reservation,
      ...(order.cacheSalt === undefined ? {} : { cacheSalt: order.cacheSalt }),
      ...admitted.objective,
      deadlineMs: prefillMs(tokenIds.length),
    };
    const options = { idleMs: patience.prefillIdleMs, signal: watch.signal };
    for await (const event of client.prefill(coordinator, body, options)) {
      if (event.type === "progress") yield event;
      else if (event.type === "done") {
        order.trace.prefillRanks = event.ranks;
        // A later attempt reuses what this gateway has put there itself.
        if (order.trace.recoveries === 0) order.trace.cachedTokens = event.reusedTokens ?? 0;
        progress.exact = event.sparse === undefined;
      } else if (firstToken === undefined) {
        firstToken = event.tokenId;
        yield take(event, progress);
      }
    }
  } finally {
    watch.stop();
  }
  if (firstToken === undefined) throw lost(coordinator, "the prefill ended without a token");
  return firstToken;
}

function take({ tokenId, logprob, topLogprobs }: TokenEvent, progress: Progress): GenerationEvent {
  progress.tokenIds.push(tokenId);
  progress.resumed?.();
  progress.resumed = undefined;
  const token: GeneratedToken = {
    tokenId,
    ...(logprob === undefined ? {} : { logprob }),
    ...(topLogprobs === undefined ? {} : { topLogprobs }),
  };
  return { type: "token", token };
}

/** Generous: a prefill may stand in its group's queue, and a rank that dies shows sooner by other signs. */
function prefillMs(tokens: number): number {
  return 180_000 + 50 * tokens;
}

/** Pages have to outlive the prefill; decoding refreshes the lease. */
function leaseMs(tokens: number): number {
  return prefillMs(tokens) + 10_000;
}

function lost(
  rank: { readonly address: string; readonly controlPort: number },
  message: string,
): RankFailure {
  return new RankFailure("epoch_broken", targetName(rank), message);
}

/** The group itself says that its time was not enough: another attempt would need as long. */
function isHopeless(failure: RankFailure): boolean {
  return failure.code === "deadline_exceeded" && failure.failure !== undefined;
}

function exhausted(failure: RankFailure, failures: number): ApiError {
  if (isHopeless(failure)) {
    return new ApiError({
      status: 504,
      type: "server_error",
      code: "deadline_exceeded",
      message: "The prompt was not prefilled in time.",
    });
  }
  return unavailable(
    `The request was lost ${String(failures)} times in a row, last by ${failure.code}; try again in a moment.`,
    5,
  );
}
