/** What the API server, or the way to it, answered instead of what was asked for. */

/** The part of a Kubernetes `Status` object that tells what went wrong. */
export interface StatusBody {
  reason?: string;
  message?: string;
  code?: number;
  metadata?: { continue?: string };
  details?: { causes?: { field?: string; message?: string; reason?: string }[]; retryAfterSeconds?: number };
}

export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** Reason of the Status object (`NotFound`, `Conflict`, ...), or `Unreachable`, `DeadlineExceeded`, `Aborted`. */
  readonly reason: string;
  readonly body: StatusBody | undefined;

  constructor(status: number, reason: string, message: string, body?: StatusBody, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.reason = reason;
    this.body = body;
  }
}

/** Builds the error of an HTTP answer that is not 2xx; `text` is its body, JSON or not. */
export function apiErrorFrom(status: number, text: string, request: string): ApiError {
  const body = parseStatus(text);
  const reason = body?.reason ?? reasonsByStatus[status] ?? "Unknown";
  const message = body?.message ?? (text.slice(0, 300) || reason);
  return new ApiError(status, reason, `${request}: ${String(status)} ${reason}: ${message}`, body);
}

/** Statuses whose answer may come from a proxy, without a Status object. */
const reasonsByStatus: Record<number, string> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Expired",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

function parseStatus(text: string): StatusBody | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function has(error: unknown, status: number, ...reasons: string[]): boolean {
  return (
    error instanceof ApiError &&
    error.status === status &&
    (reasons.length === 0 || reasons.includes(error.reason))
  );
}

export const isNotFound = (error: unknown): boolean => has(error, 404);
export const isAlreadyExists = (error: unknown): boolean => has(error, 409, "AlreadyExists");
/** The object changed since it was read, or another field manager owns a field. */
export const isConflict = (error: unknown): boolean => has(error, 409) && !isAlreadyExists(error);
/** The resource version or continue token is too old. */
export const isGone = (error: unknown): boolean => has(error, 410);
export const isForbidden = (error: unknown): boolean => has(error, 403);
/** The server refused the content: waiting does not help. */
export const isInvalid = (error: unknown): boolean => has(error, 422) || has(error, 400);
export const isTooManyRequests = (error: unknown): boolean => has(error, 429);
/** No answer came: connection refused or dropped, or the deadline passed. */
export const isUnreachable = (error: unknown): boolean => has(error, 0);
