/** Small HTTP servers for the kubelet's probes and for Prometheus, each on its own port. */
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";
import type { HealthChecks } from "./health.ts";

export interface Page {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Pages by path; a query is ignored. */
export type Pages = ReadonlyMap<string, () => Promise<Page>>;

export interface RunningServer {
  readonly port: number;
  /** Resolves when the port is free and every connection closed. */
  close(): Promise<void>;
}

/** /healthz says whether to restart the process, /readyz whether it does its work. */
export function healthPages(live: HealthChecks, ready: HealthChecks): Pages {
  const pageOf = async (checks: HealthChecks): Promise<Page> => {
    const report = await checks.report();
    return {
      status: report.healthy ? 200 : 503,
      contentType: "text/plain; charset=utf-8",
      body: report.text,
    };
  };
  return new Map([
    ["/healthz", () => pageOf(live)],
    ["/readyz", () => pageOf(ready)],
  ]);
}

export function metricsPages(registry: Registry): Pages {
  const page = async (): Promise<Page> => ({
    status: 200,
    contentType: registry.contentType,
    body: await registry.metrics(),
  });
  return new Map([["/metrics", page]]);
}

/** Port 0 takes a free one. Rejects when the port is taken. */
export async function serve(pages: Pages, port: number, host?: string): Promise<RunningServer> {
  const server = http.createServer((request, response) => {
    void answer(pages, request).then(({ status, contentType, body }) => {
      response.writeHead(status, { "content-type": contentType, "content-length": Buffer.byteLength(body) });
      response.end(request.method === "HEAD" ? undefined : body);
    });
  });
  // A probe or a scrape is short; slow clients do not hold sockets.
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => {
        resolve();
      });
      server.closeAllConnections();
    });
  return { port: (server.address() as AddressInfo).port, close };
}

async function answer(pages: Pages, request: http.IncomingMessage): Promise<Page> {
  const contentType = "text/plain; charset=utf-8";
  if (request.method !== "GET" && request.method !== "HEAD")
    return { status: 405, contentType, body: "method not allowed\n" };
  const page = pages.get((request.url ?? "/").split("?", 1)[0] ?? "/");
  if (page === undefined) return { status: 404, contentType, body: "not found\n" };
  try {
    return await page();
  } catch (error) {
    return { status: 500, contentType, body: `${String(error)}\n` };
  }
}
