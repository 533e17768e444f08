/** One HTTP exchange, with a deadline for each half and ApiError for every way in which it can fail. */
import type http from "node:http";
import { ApiError } from "./api-error.ts";
import type { ApiRequest } from "./api-request.ts";

/** Deadline of a request that states none. */
export const defaultTimeoutMs = 15_000;

/** The server closed a kept connection before it answered. */
export class StaleConnection extends ApiError {}

/** The request as messages name it. */
export function describe(request: ApiRequest): string {
  return `${request.method ?? "GET"} ${request.path}`;
}

/** Sends the body and resolves with the headers of the answer; aborting the signal later destroys the answer. */
export function awaitHeaders(
  outgoing: http.ClientRequest,
  body: string | undefined,
  request: ApiRequest,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { signal } = request;
    const abort = (): void => {
      outgoing.destroy(new ApiError(0, "Aborted", `${describe(request)}: aborted`));
    };
    const timer = setTimeout(() => {
      outgoing.destroy(
        new ApiError(0, "DeadlineExceeded", `${describe(request)}: no answer before the deadline`),
      );
    }, request.timeoutMs ?? defaultTimeoutMs);
    outgoing.once("close", () => signal?.removeEventListener("abort", abort));
    outgoing.once("response", (response) => {
      clearTimeout(timer);
      resolve(response);
    });
    outgoing.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      if (error instanceof ApiError) reject(error);
      else {
        const stale = outgoing.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
        const message = `${describe(request)}: ${error.message || (error.code ?? "connection failed")}`;
        reject(new (stale ? StaleConnection : ApiError)(0, "Unreachable", message, undefined, error));
      }
    });
    if (signal?.aborted === true) abort();
    else signal?.addEventListener("abort", abort);
    outgoing.end(body);
  });
}

/** Reads the rest of an answer. Throws ApiError. */
export async function readAll(
  response: http.IncomingMessage,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<string> {
  const timer = setTimeout(() => {
    response.destroy(new ApiError(0, "DeadlineExceeded", "The answer did not end before the deadline"));
  }, timeoutMs);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString("utf8");
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (signal?.aborted === true) throw new ApiError(0, "Aborted", "The answer was no longer wanted");
    throw new ApiError(0, "Unreachable", `The answer broke off: ${String(error)}`, undefined, error);
  } finally {
    clearTimeout(timer);
  }
}
