/**
 * The way to one API server. client-node reads the kubeconfig or the pod's service account and keeps credentials
 * fresh (it re-reads a token file each minute); requests go over node:https with connections kept alive.
 * client-node's index loads every generated API (100 MiB of heap), so only its configuration module is imported.
 */
import { existsSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { ApiError, apiErrorFrom } from "./api-error.ts";
import { sleep } from "./backoff.ts";
import { silent, type Telemetry } from "./telemetry.ts";

const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const keepAliveMs = 30_000;

export interface ConnectOptions {
  /** Path of a kubeconfig. Default: $KUBECONFIG, else the pod's service account, else ~/.kube/config. */
  readonly kubeconfig?: string | undefined;
  /** Default: the kubeconfig's current context. */
  readonly context?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly telemetry?: Telemetry | undefined;
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ApiRequest {
  readonly method?: Method | undefined;
  /** Starts with `/`. */
  readonly path: string;
  readonly query?: Query | undefined;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly contentType?: string | undefined;
  /** Deadline: of the whole answer for `request`, of its headers for `stream`. Default: 15 s. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const defaultTimeoutMs = 15_000;

/** Opens no connection yet: the first request does. Throws an Error when there is no usable configuration. */
export function connect(options: ConnectOptions = {}): Cluster {
  const config = new KubeConfig();
  if (options.kubeconfig !== undefined) config.loadFromFile(options.kubeconfig);
  else if (!process.env["KUBECONFIG"] && existsSync(serviceAccountToken)) config.loadFromCluster();
  else config.loadFromDefault();
  if (options.context !== undefined) config.setCurrentContext(options.context);
  return new Cluster(config, options);
}

export class Cluster {
  /** URL of the API server. */
  readonly server: URL;
  /** Namespace of the context, or of the pod. */
  readonly namespace: string | undefined;
  readonly telemetry: Telemetry;
  readonly #config: KubeConfig;
  readonly #agent: http.Agent | https.Agent;
  readonly #proxied: boolean;
  readonly #userAgent: string;

  constructor(config: KubeConfig, options: Pick<ConnectOptions, "userAgent" | "telemetry"> = {}) {
    const cluster = config.getCurrentCluster();
    if (cluster === null)
      throw new Error(`The kubeconfig has no cluster for the context "${config.getCurrentContext()}"`);
    this.#config = config;
    this.server = new URL(cluster.server);
    this.namespace = config.getContextObject(config.getCurrentContext())?.namespace;
    this.telemetry = options.telemetry ?? silent;
    this.#userAgent = options.userAgent ?? "csps-operator";
    this.#proxied = cluster.proxyUrl !== undefined && cluster.proxyUrl !== "";
    const agent = { keepAlive: true, keepAliveMsecs: keepAliveMs };
    this.#agent = this.server.protocol === "http:" ? new http.Agent(agent) : new https.Agent(agent);
  }

  /**
   * Sends a request and parses the JSON answer. A 429 or 503 with Retry-After was not processed, so it is sent again
   * while the deadline allows. Throws ApiError.
   */
  async request<T = unknown>(request: ApiRequest): Promise<T> {
    const deadline = performance.now() + (request.timeoutMs ?? defaultTimeoutMs);
    for (;;) {
      const timeoutMs = Math.max(1, deadline - performance.now());
      const answer = await this.#exchange({ ...request, timeoutMs });
      if (answer.status < 300) return JSON.parse(answer.text || "null") as T;
      const failure = apiErrorFrom(answer.status, answer.text, describe(request));
      const waitMs = answer.retryAfterMs;
      const mayRetry = waitMs !== undefined && performance.now() + waitMs < deadline;
      if (!mayRetry || request.signal?.aborted === true) throw failure;
      await sleep(waitMs, request.signal);
    }
  }

  /** Opens a long answer, for a watch. The caller reads or destroys it; aborting the signal destroys it. */
  async stream(request: ApiRequest): Promise<http.IncomingMessage> {
    const response = await this.#send(request);
    if ((response.statusCode ?? 0) < 300) return response;
    const text = await readAll(response, request.timeoutMs ?? defaultTimeoutMs);
    throw apiErrorFrom(response.statusCode ?? 0, text, describe(request));
  }

  /** Closes idle and open connections. */
  close(): void {
    this.#agent.destroy();
  }

  async #exchange(request: ApiRequest & { timeoutMs: number }): Promise<Answer> {
    const startedAt = performance.now();
    const response = await this.#send(request);
    const text = await readAll(response, request.timeoutMs - (performance.now() - startedAt));
    const status = response.statusCode ?? 0;
    const retryAfter = Number(response.headers["retry-after"]);
    const waits = (status === 429 || status === 503) && Number.isFinite(retryAfter);
    return { status, text, retryAfterMs: waits ? retryAfter * 1000 : undefined };
  }

  /** Resolves with the headers. A kept connection that the server closed meanwhile is tried once more on a new one. */
  async #send(request: ApiRequest): Promise<http.IncomingMessage> {
    const method = request.method ?? "GET";
    try {
      const response = await this.#sendOnce(request);
      this.telemetry.requestFinished(method, String(response.statusCode), this.server.host);
      return response;
    } catch (error) {
      this.telemetry.requestFinished(method, "<error>", this.server.host);
      if (error instanceof StaleConnection && method === "GET") return this.#sendOnce(request);
      throw error;
    }
  }

  async #sendOnce(request: ApiRequest): Promise<http.IncomingMessage> {
    const options: https.RequestOptions = { headers: {} };
    await this.#config.applyToHTTPSOptions(options);
    const url = new URL(this.server);
    url.pathname = url.pathname.replace(/\/$/, "") + request.path;
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const headers: Record<string, string> = {
      ...(options.headers as Record<string, string>),
      accept: "application/json",
      "user-agent": this.#userAgent,
      ...(body === undefined ? {} : bodyHeaders(body, request)),
    };
    const agent = this.#proxied ? options.agent : this.#agent;
    const send = url.protocol === "http:" ? http.request : https.request;
    const outgoing = send(url, { ...options, agent, method: request.method ?? "GET", headers });
    return awaitHeaders(outgoing, body, request);
  }
}

interface Answer {
  status: number;
  text: string;
  retryAfterMs: number | undefined;
}

/** The server closed a kept connection before it answered. */
class StaleConnection extends ApiError {}

/** The length must be told: without it Node sends the body of a DELETE unframed, as if it were the next request. */
function bodyHeaders(body: string, request: ApiRequest): Record<string, string> {
  return {
    "content-type": request.contentType ?? "application/json",
    "content-length": String(Buffer.byteLength(body)),
  };
}

function describe(request: ApiRequest): string {
  return `${request.method ?? "GET"} ${request.path}`;
}

function awaitHeaders(
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

async function readAll(response: http.IncomingMessage, timeoutMs: number): Promise<string> {
  const timer = setTimeout(() => {
    response.destroy(new ApiError(0, "DeadlineExceeded", "The answer did not end before the deadline"));
  }, timeoutMs);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString("utf8");
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(0, "Unreachable", `The answer broke off: ${String(error)}`, undefined, error);
  } finally {
    clearTimeout(timer);
  }
}
