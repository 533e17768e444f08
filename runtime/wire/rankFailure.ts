/**
 * Why a call to a rank did not give its answer: the rank's own wire code where it spoke, or one of three
 * local codes where it did not.
 */
import type { RankEndpoint } from "./rankEndpoint.ts";
import type { Failure, FailureCode } from "./schema/failure.ts";

/**
 * `unreachable`: no connection, or it broke before the last event. `aborted`: the caller's signal.
 * `malformed_answer`: the rank answered outside the schema. A call that ran out of its own time has the wire
 * code `deadline_exceeded`, as if the rank had said so.
 */
export type LocalFailureCode = "unreachable" | "aborted" | "malformed_answer";

/** A failed call; `code` decides what to do next, `failure` holds the rank's details where it gave any. */
export class RankFailure extends Error {
  readonly code: FailureCode | LocalFailureCode;
  /** The rank's own words; undefined when the failure was found on this side. */
  readonly failure: Failure | undefined;
  /** `address:port` of the rank that was asked. */
  readonly target: string;

  constructor(
    code: FailureCode | LocalFailureCode,
    target: string,
    message: string,
    detail: { failure?: Failure; cause?: unknown } = {},
  ) {
    super(`${target}: ${message}`, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "RankFailure";
    this.code = code;
    this.target = target;
    this.failure = detail.failure;
  }
}

/** The failure that a rank stated itself, in an error answer or as the last event of a stream. */
export function statedFailure(target: string, failure: Failure): RankFailure {
  return new RankFailure(failure.code, target, failure.message, { failure });
}

/** How a rank's control API is named in failures and URLs: `address:port`, IPv6 in brackets. */
export function targetName(endpoint: RankEndpoint): string {
  const host = endpoint.address.includes(":") ? `[${endpoint.address}]` : endpoint.address;
  return `${host}:${String(endpoint.controlPort)}`;
}
