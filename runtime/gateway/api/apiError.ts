/** The error form of the OpenAI API: what a client of it expects to find, with its HTTP status. */

export type ApiErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "not_found_error"
  | "rate_limit_error"
  | "service_unavailable_error"
  | "server_error";

export interface ApiErrorDetail {
  readonly status: number;
  readonly type: ApiErrorType;
  /** Stable, for programs. */
  readonly code: string | null;
  /** A sentence for a person: names the field, the value and the rule. */
  readonly message: string;
  /** Path of the field at fault. */
  readonly param?: string;
  /** For Retry-After. */
  readonly retryAfterSeconds?: number;
}

/** Ends a request with `{error: {message, type, param, code}}`. */
export class ApiError extends Error {
  readonly detail: ApiErrorDetail;

  constructor(detail: ApiErrorDetail) {
    super(detail.message);
    this.name = "ApiError";
    this.detail = detail;
  }

  get body(): { error: { message: string; type: string; param: string | null; code: string | null } } {
    const { message, type, param, code } = this.detail;
    return { error: { message, type, param: param ?? null, code } };
  }
}

export function badRequest(message: string, detail: { param?: string; code?: string } = {}): ApiError {
  const { param, code = null } = detail;
  return new ApiError({
    status: 400,
    type: "invalid_request_error",
    code,
    message,
    ...(param === undefined ? {} : { param }),
  });
}

export function unavailable(message: string, retryAfterSeconds = 2): ApiError {
  return new ApiError({
    status: 503,
    type: "service_unavailable_error",
    code: "no_group_ready",
    message,
    retryAfterSeconds,
  });
}

export function outOfPages(message: string, retryAfterSeconds: number): ApiError {
  return new ApiError({
    status: 429,
    type: "rate_limit_error",
    code: "out_of_pages",
    message,
    retryAfterSeconds,
  });
}

/** `promptTokens` and `newTokens` together do not fit into the context. */
export function contextLengthExceeded(lengths: {
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly contextLength: number;
  readonly param: string;
}): ApiError {
  const { promptTokens, newTokens, contextLength, param } = lengths;
  return badRequest(
    `This model's maximum context length is ${String(contextLength)} tokens, but ` +
      `${String(promptTokens + newTokens)} were requested (${String(promptTokens)} in the prompt, ` +
      `${String(newTokens)} for the completion).`,
    { param, code: "context_length_exceeded" },
  );
}
