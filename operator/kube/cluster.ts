/**
 * The way to one API server. client-node reads the kubeconfig or the pod's service account and keeps credentials
 * fresh (it re-reads a token file each minute); requests go over node:https with connections kept alive.
 * client-node's index loads every generated API (100 MiB of heap), so only its configuration module is imported.
 */
import { existsSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { apiErrorFrom } from "./api-error.ts";
import type { ApiRequest } from "./api-request.ts";
import { sleep } from "./backoff.ts";
import { awaitHeaders, defaultTimeoutMs, describe, readAll, StaleConnection } from "./exchange.ts";
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
    const text = await readAll(response, request.timeoutMs ?? defaultTimeoutMs, request.signal);
    throw apiErrorFrom(response.statusCode ?? 0, text, describe(request));
  }

  /** Closes idle and open connections. */
  close(): void {
    this.#agent.destroy();
  }

  async #exchange(request: ApiRequest & { timeoutMs: number }): Promise<Answer> {
    const startedAt = performance.now();
    const response = await this.#send(request);
    const text = await readAll(response, request.timeoutMs - (performance.now() - startedAt), request.signal);
    const status = response.statusCode ?? 0;
    const retryAfter = Number(response.headers["retry-after"]);
    const waits = (status === 429 || status === 503) && Number.isFinite(retryAfter);
    return { status, text, retryAfterMs: waits ? retryAfter * 1000 : undefined };
  }

  /** Resolves with the headers. A read over a kept connection that the server closed meanwhile is sent once more. */
  async #send(request: ApiRequest): Promise<http.IncomingMessage> {
    try {
      return await this.#sendOnce(request);
    } catch (error) {
      const mayRepeat = error instanceof StaleConnection && (request.method ?? "GET") === "GET";
      if (mayRepeat) return this.#sendOnce(request);
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
    const count = (code: string): void => {
      this.telemetry.requestFinished(request.method ?? "GET", code, this.server.host);
    };
    const answer = awaitHeaders(outgoing, body, request);
    answer.then(
      (response) => {
        count(String(response.statusCode));
      },
      () => {
        count("<error>");
      },
    );
    return answer;
  }
}

interface Answer {
  status: number;
  text: string;
  retryAfterMs: number | undefined;
}

/** The length must be told: without it Node sends the body of a DELETE unframed, as if it were the next request. */
function bodyHeaders(body: string, request: ApiRequest): Record<string, string> {
  return {
    "content-type": request.contentType ?? "application/json",
    "content-length": String(Buffer.byteLength(body)),
  };
}
