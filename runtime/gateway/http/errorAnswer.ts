/** From whatever was thrown to the answer that the client gets; nothing of the inside leaks. */
import { ApiError, badRequest } from "../api/apiError.ts";

interface BodyParserError {
  readonly type: string;
  readonly limit?: number;
}

/** `unexpected` is told of errors that no rule knows. */
export function toApiError(error: unknown, unexpected: (error: unknown) => void): ApiError {
  if (error instanceof ApiError) return error;
  if (isBodyParserError(error)) return fromBodyParser(error);
  unexpected(error);
  return new ApiError({
    status: 500,
    type: "server_error",
    code: "internal",
    message: "The server had an error; the request id tells its log where to look.",
  });
}

function isBodyParserError(error: unknown): error is BodyParserError {
  return (
    error instanceof Error &&
    "type" in error &&
    typeof error.type === "string" &&
    /^(entity|encoding|request|charset)\./.test(error.type)
  );
}

function fromBodyParser({ type, limit }: BodyParserError): ApiError {
  if (type === "entity.too.large") {
    return new ApiError({
      status: 413,
      type: "invalid_request_error",
      code: "request_too_large",
      message: `The request body is larger than ${String(limit ?? 0)} bytes.`,
    });
  }
  if (type === "entity.parse.failed") {
    return badRequest("The request body is not valid JSON.", { code: "invalid_json" });
  }
  return badRequest(`The request body could not be read: ${type}.`, { code: "invalid_body" });
}
