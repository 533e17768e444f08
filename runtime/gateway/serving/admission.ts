/** Finds a pool that takes a request and the group that will prefill it; waits for room within bounds. */
import { rankRoutes, type Route as RouteAmong } from "../../routing/route.ts";
import type { RankClient } from "../../wire/rankClient.ts";
import type { RankEndpoint } from "../../wire/rankEndpoint.ts";
import { RankFailure } from "../../wire/rankFailure.ts";
import type { Reservation } from "../../wire/schema/serving.ts";
import { ApiError, outOfPages, unavailable } from "../api/apiError.ts";
import type { ServingGroup } from "../ranks/groups.ts";
import type { RankView } from "../ranks/rankView.ts";
import { createOccupations, type Occupations } from "./occupations.ts";
import { createPrefixMemory, keysOf, type PrefixMemory } from "./prefixMemory.ts";

export type Route = RouteAmong<ServingGroup>;

export interface Admission {
  /** Reserves pages for the request somewhere; throws the refusal that the client is to see. */
  admit(question: AdmissionQuestion): Promise<Admitted>;
  readonly occupy: Occupations["occupy"];
}

export interface AdmissionQuestion {
  readonly requestId: string;
  readonly promptIds: readonly number[];
  /** Only prompts with the same one share its pages. */
  readonly cacheSalt: string | undefined;
  readonly maxNewTokens: number;
  readonly leaseMs: number;
  /** How long to wait for pages or for a group. */
  readonly waitMs: number;
  /** Whether to wait although no group has been there lately: a request that is under way does. */
  readonly underWay: boolean;
  readonly signal: AbortSignal;
}

export interface Admitted {
  readonly route: Route;
  readonly reservation: Reservation;
  /** Ranks that should compute the prompt; undefined: as many as the group finds worth it. */
  readonly degree: number | undefined;
  /** The prompt is to be computed exactly, whatever the deployment allows. */
  readonly exact: boolean;
  /** Until when its first token should come, and how much of that is gone; undefined: it has no objective. */
  readonly objective: { readonly ttftMs: number; readonly waitedMs: number } | undefined;
}

/** A group that served within this time is expected back: it is forming its next epoch. */
const lateGroupMs = 30_000;
const retryEveryMs = 250;

export function createAdmission(deps: {
  readonly client: RankClient;
  readonly view: RankView;
  readonly now: () => number;
  /** Ranks that should compute a prompt; undefined: the group may choose, and any group is as good. */
  readonly wantedDegree?: (promptTokens: number) => number | undefined;
  /** What pools are known to hold of prompts; without it, what went through here. */
  readonly prefixes?: PrefixMemory;
  /** Whether a prompt has to be computed exactly; without it the group does as the deployment allows. */
  readonly exact?: (promptTokens: number) => boolean;
  /** Time within which a prompt should have its first token; without it none has to. */
  readonly ttftMs?: (promptTokens: number) => number | undefined;
  /** Returns when ranks serve; throws the refusal that the client is to see. Without it nobody waits until they do. */
  readonly awake?: (signal: AbortSignal) => Promise<void>;
}): Admission {
  const { client, view, now } = deps;
  const occupations = createOccupations();
  const { prefixes = createPrefixMemory() } = deps;
  let routedMs = Number.NEGATIVE_INFINITY;

  async function admit(question: AdmissionQuestion): Promise<Admitted> {
    const began = now();
    let deadline = began + question.waitMs;
    const promptTokens = question.promptIds.length;
    const keys = keysOf(question.promptIds, question.cacheSalt);
    const degree = deps.wantedDegree?.(promptTokens);
    // Whoever was under way has waited enough.
    const ttftMs = question.underWay ? undefined : deps.ttftMs?.(promptTokens);
    let full: RankFailure | undefined;
    const unheard: Unheard = new Map();
    try {
      for (;;) {
        // Ranks that seemed to serve may have been given back a moment ago: the first call to them tells.
        if (!question.underWay) {
          const arrivedMs = now();
          await deps.awake?.(question.signal);
          deadline += now() - arrivedMs;
        }
        const routes = rankRoutes(view.groups(), {
          promptTokens,
          wantedDegree: degree ?? 1,
          nowMs: now(),
          inFlight: occupations.inFlight,
          heldShare: ({ group, kvFormat, pageTokens }) => prefixes.share(group, keys(kvFormat, pageTokens)),
        });
        if (routes.length > 0) routedMs = now();
        const outcome = await reserveOn(routes, question, { keys, unheard });
        if (!(outcome instanceof RankFailure) && outcome !== undefined)
          return {
            ...outcome,
            degree,
            exact: deps.exact?.(promptTokens) ?? false,
            objective: ttftMs === undefined ? undefined : { ttftMs, waitedMs: Math.round(now() - began) },
          };
        full = outcome ?? (routes.length === 0 ? undefined : full);
        const hopeless = routes.length === 0 && !question.underWay && now() - routedMs > lateGroupMs;
        if (hopeless || now() >= deadline) throw refusalOf(full);
        await view.changed(Math.min(retryEveryMs, Math.max(1, deadline - now())), question.signal);
        question.signal.throwIfAborted();
      }
    } finally {
      // Only now: a pool that is asked again answers with what it reserved at first.
      for (const coordinator of unheard.values())
        void client.cancel(coordinator, question.requestId).catch(() => undefined);
    }
  }

  /** Asks each pool once, the best route to it first; returns why the last full one refused, if any did. */
  async function reserveOn(
    routes: readonly Route[],
    { requestId, promptIds, maxNewTokens, leaseMs, signal }: AdmissionQuestion,
    { keys, unheard }: { readonly keys: ReturnType<typeof keysOf>; readonly unheard: Unheard },
  ): Promise<Pick<Admitted, "route" | "reservation"> | RankFailure | undefined> {
    const asked = new Set<string>();
    let full: RankFailure | undefined;
    for (const route of routes) {
      if (asked.has(route.pool.group)) continue;
      asked.add(route.pool.group);
      try {
        const { group, kvFormat, pageTokens, coordinator } = route.pool;
        const pageKeys = keys(kvFormat, pageTokens);
        const body = { requestId, promptTokens: promptIds.length, maxNewTokens, leaseMs, pageKeys };
        const reservation = await client.reserve(coordinator, body, { signal });
        prefixes.note(group, pageKeys);
        unheard.delete(group);
        return { route, reservation };
      } catch (error) {
        if (!(error instanceof RankFailure)) throw error;
        if (mayHold(error)) unheard.set(route.pool.group, route.pool.coordinator);
        if (isFinal(error)) throw finalError(error);
        if (error.code === "out_of_pages") full = error;
        else view.suspect(route.pool.coordinator.rankId);
      }
    }
    return full;
  }

  return { admit, occupy: occupations.occupy };
}

/** Coordinators of the pools that may hold pages for a request although they did not say so, by group. */
type Unheard = Map<string, RankEndpoint>;

/** The answer was lost, or the rank itself lost it: it may have reserved, and its lease is minutes long. */
function mayHold({ code, failure }: RankFailure): boolean {
  return failure === undefined || code === "deadline_exceeded";
}

/** Failures that no other rank would answer otherwise. */
export function isFinal(failure: RankFailure): boolean {
  const codes: readonly RankFailure["code"][] = ["bad_request", "unauthorized", "prompt_too_long", "aborted"];
  return codes.includes(failure.code);
}

/** What the client sees of a failure that is final. */
export function finalError(failure: RankFailure): Error {
  const message = failure.failure?.message ?? "the serving ranks refused the request";
  switch (failure.code) {
    case "aborted":
      return failure;
    case "prompt_too_long":
      return new ApiError({
        status: 400,
        type: "invalid_request_error",
        code: "context_length_exceeded",
        message,
      });
    default:
      return new ApiError({
        status: 500,
        type: "server_error",
        code: "internal",
        message: "The serving ranks refused the gateway's request.",
      });
  }
}

function refusalOf(full: RankFailure | undefined): ApiError {
  if (full === undefined) {
    return unavailable("No prefill group with a decode pool is ready to serve; try again in a moment.");
  }
  const { missingPages, freePages, retryAfterMs = 2_000 } = full.failure ?? {};
  const detail =
    missingPages === undefined ? "" : ` (${String(missingPages)} missing, ${String(freePages ?? 0)} free)`;
  return outOfPages(
    `The decode pools are out of KV pages${detail}; try again later.`,
    Math.ceil(retryAfterMs / 1000),
  );
}
