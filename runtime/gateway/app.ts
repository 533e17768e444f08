/** The gateway's HTTP application; testable without a port of its own choosing. */
import express from "express";
import type { Express, NextFunction, Request, Response } from "express";
import { ApiError } from "./api/apiError.ts";
import type { ApiKeys } from "./http/apiKeys.ts";
import { toApiError } from "./http/errorAnswer.ts";
import type { Exchange } from "./http/exchange.ts";
import { openExchange, requestIdFor } from "./http/exchange.ts";
import type { Log } from "./log.ts";
import type { RankView } from "./ranks/rankView.ts";
import type { RouteDeps } from "./routes.ts";
import { chatCompletions, completions, listModels, showModel } from "./routes.ts";

export interface AppDeps extends RouteDeps {
  readonly keys: ApiKeys;
  readonly view: RankView;
  readonly log: Log;
  readonly maxBodyBytes: number;
  /** True once the process has been asked to end. */
  readonly draining: () => boolean;
}

export function createApp(deps: AppDeps): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use((request: Request, response: Response, next: NextFunction) => {
    response.setHeader("x-request-id", requestIdFor(request));
    next();
  });

  app.get("/healthz", (_request, response) => {
    response.send("ok\n");
  });
  // Ready means that asking makes sense: without a group the answer is a 503 that says so and when to come back,
  // which is more than the refused connection that clients would get if the Service had no endpoint.
  app.get("/readyz", (_request, response) => {
    response.status(deps.draining() ? 503 : 200).send(deps.draining() ? "draining\n" : "ok\n");
  });
  app.get("/metrics", async (_request, response) => {
    for (const role of ["prefill", "decode"]) {
      deps.metrics.readyGroups.set(
        { role },
        deps.view.groups().filter((group) => group.role === role).length,
      );
    }
    response.type(deps.metrics.registry.contentType).send(await deps.metrics.registry.metrics());
  });

  app.use("/v1", (request: Request, _response: Response, next: NextFunction) => {
    deps.keys.check(request.get("authorization"));
    next();
  });
  app.get("/v1/models", listModels(deps));
  app.get("/v1/models/*id", showModel(deps));
  const json = express.json({ limit: deps.maxBodyBytes, strict: false });
  app.post("/v1/completions", json, answering(deps, "completions", completions(deps)));
  app.post("/v1/chat/completions", json, answering(deps, "chat", chatCompletions(deps)));

  app.use((request: Request) => {
    throw new ApiError({
      status: 404,
      type: "not_found_error",
      code: "unknown_route",
      message: `There is no ${request.method} ${request.path} here.`,
    });
  });
  app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    const failure = toApiError(error, (cause) => {
      deps.log.error("request failed", { requestId: response.getHeader("x-request-id"), ...reasonOf(cause) });
    });
    if (response.headersSent) {
      next(error);
      return;
    }
    if (failure.detail.retryAfterSeconds !== undefined) {
      response.setHeader("retry-after", String(failure.detail.retryAfterSeconds));
    }
    response.status(failure.detail.status).json(failure.body);
  });
  return app;
}

/** Runs an endpoint with its exchange; counts it and writes one line about it, without its text. */
function answering(
  deps: AppDeps,
  route: string,
  handle: (body: unknown, exchange: Exchange) => Promise<void>,
) {
  return async (request: Request, response: Response): Promise<void> => {
    let failure: ApiError | undefined;
    const exchange = openExchange(response, (error) => {
      failure = toApiError(error, (cause) => {
        deps.log.error("stream failed", { requestId: exchange.requestId, ...reasonOf(cause) });
      });
      return failure;
    });
    response.once("close", () => {
      const status = response.writableFinished ? (failure?.detail.status ?? response.statusCode) : 499;
      deps.metrics.running.dec();
      deps.metrics.requests.inc({ route, status: String(status) });
      deps.metrics.requestDuration.observe(exchange.elapsedMs() / 1000);
      deps.log.info("request", {
        requestId: exchange.requestId,
        route,
        status,
        ms: Math.round(exchange.elapsedMs()),
      });
    });
    deps.metrics.running.inc();
    try {
      await handle(request.body, exchange);
    } catch (error) {
      // When the client has left there is nobody to tell.
      if (!response.destroyed) throw error;
    }
  };
}

function reasonOf(error: unknown): { reason: string; stack?: string } {
  if (!(error instanceof Error)) return { reason: String(error) };
  return { reason: error.message, ...(error.stack === undefined ? {} : { stack: error.stack }) };
}
