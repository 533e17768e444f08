/** A small API server for ConfigMaps that keeps a history and fails on demand: for tests of list and watch. */
import http from "node:http";
import type { AddressInfo } from "node:net";
import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { Cluster } from "../cluster.ts";
import type { ConfigMap } from "../object.ts";
import type { Telemetry } from "../telemetry.ts";

/** Answers one request in place of the server. */
export type Fault = (response: http.ServerResponse, request: URL) => void;

interface HistoryEntry {
  version: number;
  type: "ADDED" | "MODIFIED" | "DELETED";
  object: ConfigMap;
}

export class FaultyApiServer {
  /** Faults of the next lists and watches, first one first. */
  readonly listFaults: Fault[] = [];
  readonly watchFaults: Fault[] = [];
  /** Every request so far. */
  readonly lists: URL[] = [];
  readonly watches: URL[] = [];
  readonly #open = new Set<http.ServerResponse>();
  readonly #objects = new Map<string, ConfigMap>();
  readonly #history: HistoryEntry[] = [];
  readonly #server: http.Server;
  #version = 100;

  private constructor(server: http.Server) {
    this.#server = server;
  }

  static async start(): Promise<FaultyApiServer> {
    const server = http.createServer();
    const faulty = new FaultyApiServer(server);
    server.on("request", (request, response) => {
      faulty.#answer(new URL(request.url ?? "/", "http://server"), response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return faulty;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  cluster(telemetry?: Telemetry): Cluster {
    const config = new KubeConfig();
    const { port } = this.#server.address() as AddressInfo;
    config.loadFromOptions({
      clusters: [{ name: "faulty", server: `http://127.0.0.1:${String(port)}`, skipTLSVerify: true }],
      users: [{ name: "nobody" }],
      contexts: [{ name: "faulty", cluster: "faulty", user: "nobody" }],
      currentContext: "faulty",
    });
    return new Cluster(config, { telemetry });
  }

  get openWatches(): number {
    return this.#open.size;
  }

  get version(): number {
    return this.#version;
  }

  put(name: string, data: Record<string, string> = {}): void {
    this.#version += 1;
    const type = this.#objects.has(name) ? "MODIFIED" : "ADDED";
    const object: ConfigMap = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: {
        name,
        namespace: "default",
        uid: `uid-${name}`,
        resourceVersion: String(this.#version),
        creationTimestamp: "2026-01-01T00:00:00Z",
      },
      data,
    };
    this.#objects.set(name, object);
    this.#emit({ version: this.#version, type, object });
  }

  delete(name: string): void {
    const before = this.#objects.get(name);
    if (before === undefined) return;
    this.#objects.delete(name);
    this.#version += 1;
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(this.#version) } };
    this.#emit({ version: this.#version, type: "DELETED", object });
  }

  bookmark(): void {
    this.#version += 1;
    this.send(line("BOOKMARK", { kind: "ConfigMap", metadata: { resourceVersion: String(this.#version) } }));
  }

  /** Writes raw text to every open watch. */
  send(text: string): void {
    for (const response of this.#open) response.write(text);
  }

  /** Ends every open watch: in order, or by cutting the connection. */
  endWatches(how: "closed" | "cut"): void {
    for (const response of this.#open) {
      this.#open.delete(response);
      if (how === "closed") response.end();
      else response.destroy();
    }
  }

  #emit(entry: HistoryEntry): void {
    this.#history.push(entry);
    this.send(line(entry.type, entry.object));
  }

  #answer(url: URL, response: http.ServerResponse): void {
    const isWatch = url.searchParams.get("watch") === "true";
    (isWatch ? this.watches : this.lists).push(url);
    const fault = (isWatch ? this.watchFaults : this.listFaults).shift();
    if (fault !== undefined) fault(response, url);
    else if (isWatch) this.#watch(url, response);
    else this.#list(url, response);
  }

  #watch(url: URL, response: http.ServerResponse): void {
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    this.#open.add(response);
    response.on("close", () => this.#open.delete(response));
    const since = Number(url.searchParams.get("resourceVersion"));
    for (const entry of this.#history) {
      if (entry.version > since) response.write(line(entry.type, entry.object));
    }
  }

  /** Pages by name; the continue token is the name of the last object of the page before. */
  #list(url: URL, response: http.ServerResponse): void {
    const after = url.searchParams.get("continue") ?? "";
    const limit = Number(url.searchParams.get("limit") ?? Infinity);
    const names = [...this.#objects.keys()].sort().filter((name) => name > after);
    const page = names.slice(0, limit);
    const token = page.length < names.length ? page.at(-1) : undefined;
    // As the real server: items without apiVersion and kind.
    const items = page.map((name) => ({
      metadata: this.#objects.get(name)?.metadata,
      data: this.#objects.get(name)?.data,
    }));
    const metadata = { resourceVersion: String(this.#version), continue: token };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ apiVersion: "v1", kind: "ConfigMapList", metadata, items }));
  }
}

export function line(type: string, object: unknown): string {
  return `${JSON.stringify({ type, object })}\n`;
}

/** Refuses with a Status object. */
export function refuse(code: number, reason: string, headers: Record<string, string> = {}): Fault {
  return (response) => {
    response.writeHead(code, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify({ kind: "Status", code, reason, message: `asked to fail with ${reason}` }));
  };
}

/** Answers a watch with this text, and then ends it or leaves it open and silent. */
export function stream(text: string, then: "end" | "cut" | "hang"): Fault {
  return (response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.write(text, () => {
      if (then === "end") response.end();
      if (then === "cut") response.destroy();
    });
    response.flushHeaders();
  };
}
