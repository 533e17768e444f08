/** One request and its response, as the answering code sees them. */
import { randomUUID } from "node:crypto";
import type { Request, Response } from "express";
import type { ApiError } from "../api/apiError.ts";

export interface Exchange {
  /** Names the request in logs, on the ranks and to the client; unique. */
  readonly requestId: string;
  readonly response: Response;
  /** Aborted when the client leaves before the end, and by `abandon`. */
  readonly signal: AbortSignal;
  elapsedMs(): number;
  /** Stops everything that is still under way for this request. */
  abandon(): void;
  /** Names and records a failure after the head has been sent. */
  failed(error: unknown): ApiError;
}

export function openExchange(response: Response, failed: (error: unknown) => ApiError): Exchange {
  const began = performance.now();
  const controller = new AbortController();
  response.on("close", () => {
    // After a complete answer nobody listens to the signal any more.
    controller.abort(new Error("the client left"));
  });
  return {
    requestId: String(response.getHeader("x-request-id")),
    response,
    signal: controller.signal,
    elapsedMs: () => performance.now() - began,
    abandon: () => {
      controller.abort(new Error("the answer failed"));
    },
    failed,
  };
}

const allowedId = /^[\w.:-]{1,64}$/;

/** The caller's x-request-id with a part of our own, so that two requests with one id stay two on the ranks. */
export function requestIdFor(request: Request): string {
  const given = request.get("x-request-id");
  const own = randomUUID();
  return given !== undefined && allowedId.test(given) ? `${given}-${own.slice(0, 8)}` : own;
}
