/**
 * Client of the rank control API. Every call has a deadline and honours an AbortSignal; every failure is a
 * `RankFailure`. A `not_coordinator` answer that names the coordinator is followed once, because the caller's
 * view of a group may be a second old. Nothing else is retried here: whether a call may run again is known
 * to the caller only.
 */
import { Agent } from "undici";
import type { Dispatcher } from "undici";
import { z } from "zod";
import { callJson, openStream } from "./rankCall.ts";
import type { CallContext, Succeeding } from "./rankCall.ts";
import type { RankEndpoint } from "./rankEndpoint.ts";
import type { Roster, RankState } from "./schema/membership.ts";
import { rankState } from "./schema/membership.ts";
import type { ModelDescriptor } from "./schema/model.ts";
import { modelDescriptor } from "./schema/model.ts";
import type { MoveCancel, MoveOrder, MoveState, PoolInventory } from "./schema/move.ts";
import { moveState, poolInventory } from "./schema/move.ts";
import type {
  DecodeEvent,
  DecodeRequest,
  PrefillEvent,
  PrefillRequest,
  Reservation,
  ReserveRequest,
} from "./schema/serving.ts";
import { decodeEvent, prefillEvent, reservation } from "./schema/serving.ts";

export interface CallOptions {
  /** Time for the whole call; a sensible one per verb when absent. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface StreamOptions {
  /** Longest silence between two events, the first included. */
  readonly idleMs?: number;
  readonly signal?: AbortSignal;
}

export interface RankClient {
  state(target: RankEndpoint, options?: CallOptions): Promise<RankState>;
  model(target: RankEndpoint, options?: CallOptions): Promise<ModelDescriptor>;
  /** Operator only. Throws `stale_fence` when the rank has heard a newer leader or roster. */
  roster(target: RankEndpoint, body: Roster, options?: CallOptions): Promise<RankState>;
  /** Operator only. Asks the rank to finish what it runs and take no more; progress shows in its state. */
  drain(target: RankEndpoint, options?: CallOptions): Promise<void>;
  /** Operator only. Who holds which pages of the pool, and the moves of the last ten minutes. */
  inventory(target: RankEndpoint, options?: CallOptions): Promise<PoolInventory>;
  /** Operator only. Idempotent by `moveId`; a move that can't be is answered as `refused`, not thrown. */
  move(target: RankEndpoint, body: MoveOrder, options?: CallOptions): Promise<MoveState>;
  /** Operator only. Throws `unknown_request` for a move that the coordinator never heard of. */
  cancelMove(target: RankEndpoint, body: MoveCancel, options?: CallOptions): Promise<MoveState>;
  reserve(target: RankEndpoint, body: ReserveRequest, options?: CallOptions): Promise<Reservation>;
  /** Ends after `done`; throws the failure of an `error` event, and `unreachable` when it breaks off. */
  prefill(
    target: RankEndpoint,
    body: PrefillRequest,
    options?: StreamOptions,
  ): AsyncGenerator<Succeeding<PrefillEvent>, void, undefined>;
  /** Ends after `done`; throws as `prefill` does. */
  decode(
    target: RankEndpoint,
    body: DecodeRequest,
    options?: StreamOptions,
  ): AsyncGenerator<Succeeding<DecodeEvent>, void, undefined>;
  /** Frees what the request holds; succeeds when the request is unknown. */
  cancel(target: RankEndpoint, requestId: string, options?: CallOptions): Promise<void>;
  /** Closes idle connections and breaks the others. */
  close(): Promise<void>;
}

export interface RankClientSettings {
  /** Bearer token of the deployment's control API; read again for each call so that it can be rotated. */
  readonly token: () => string;
  /** For tests; a keep-alive pool per rank when absent. */
  readonly dispatcher?: Dispatcher;
}

const defaultMs = {
  state: 2_000,
  model: 15_000,
  roster: 5_000,
  drain: 5_000,
  reserve: 5_000,
  cancel: 2_000,
  move: 5_000,
};
const defaultIdleMs = 10_000;
const anyAnswer = z.unknown();

/** A client with one pool of keep-alive connections per rank. Call `close` when done. */
export function createRankClient(settings: RankClientSettings): RankClient {
  const dispatcher =
    settings.dispatcher ??
    new Agent({ connect: { timeout: 2_000 }, keepAliveTimeout: 10_000, pipelining: 1 });
  const context: CallContext = { dispatcher, token: settings.token };
  return {
    state: (target, options) =>
      callJson(
        context,
        { target, method: "GET", path: "/v1/state", ...within(defaultMs.state, options) },
        rankState,
      ),
    model: (target, options) =>
      callJson(
        context,
        { target, method: "GET", path: "/v1/model", ...within(defaultMs.model, options) },
        modelDescriptor,
      ),
    roster: (target, body, options) =>
      callJson(
        context,
        { target, method: "POST", path: "/v1/roster", body, ...within(defaultMs.roster, options) },
        rankState,
      ),
    async drain(target, options) {
      const call = {
        target,
        method: "POST",
        path: "/v1/drain",
        body: {},
        ...within(defaultMs.drain, options),
      } as const;
      await callJson(context, call, anyAnswer);
    },
    inventory: (target, options) =>
      callJson(
        context,
        { target, method: "GET", path: "/v1/inventory", ...within(defaultMs.move, options) },
        poolInventory,
      ),
    move: (target, body, options) =>
      callJson(
        context,
        { target, method: "POST", path: "/v1/move", body, ...within(defaultMs.move, options) },
        moveState,
      ),
    cancelMove: (target, body, options) =>
      callJson(
        context,
        { target, method: "POST", path: "/v1/move/cancel", body, ...within(defaultMs.move, options) },
        moveState,
      ),
    reserve: (target, body, options) =>
      callJson(
        context,
        { target, method: "POST", path: "/v1/reserve", body, ...within(defaultMs.reserve, options) },
        reservation,
      ),
    prefill: (target, body, options) =>
      openStream(context, { target, path: "/v1/prefill", body, ...listening(options) }, prefillEvent),
    decode: (target, body, options) =>
      openStream(context, { target, path: "/v1/decode", body, ...listening(options) }, decodeEvent),
    async cancel(target, requestId, options) {
      const call = {
        target,
        method: "POST",
        path: "/v1/cancel",
        body: { requestId },
        ...within(defaultMs.cancel, options),
      } as const;
      await callJson(context, call, anyAnswer);
    },
    close: () => dispatcher.destroy(),
  };
}

function within(deadlineMs: number, options: CallOptions = {}): { deadlineMs: number; signal?: AbortSignal } {
  return { deadlineMs, ...options };
}

function listening(options: StreamOptions = {}): { idleMs: number; signal?: AbortSignal } {
  return { idleMs: defaultIdleMs, ...options };
}
