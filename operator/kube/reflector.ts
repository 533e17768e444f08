/**
 * Keeps a sink equal to a collection of the API server: a paged list, then a watch from the list's resource version.
 *
 *   list → watch → (closed, dropped, idle, 429, 5xx, malformed line) → watch again from the last version seen
 *                → (410 Gone, another refusal, five failures in a row) → list again
 *
 * Every failure is followed by a jittered exponential delay, which a delivered event or bookmark resets.
 */
import { ApiError, isGone, isTooManyRequests, isUnreachable } from "./api-error.ts";
import { Backoff, sleep, type BackoffRange } from "./backoff.ts";
import type { Cluster } from "./cluster.ts";
import { listPages, type Selection } from "./list.ts";
import type { KubeObject } from "./object.ts";
import { pathOf } from "./resource.ts";
import { IdleWatch, MalformedWatchLine, watchEvents } from "./watch-stream.ts";

/** What one reflector fills. An error that it throws is logged and does not stop the reflector. */
export interface ReflectorSink<T> {
  /** The whole collection, after each full list. */
  replaced(objects: T[]): void;
  upserted(object: T): void;
  removed(object: T): void;
}

export interface ReflectorOptions<T extends KubeObject> extends Selection<T> {
  readonly cluster: Cluster;
  /** Applied to each object before it is kept; drops what nobody reads. */
  readonly project?: ((object: T) => T) | undefined;
  readonly pageLimit?: number | undefined;
  /** The server sends a bookmark about once a minute; longer silence means a dead connection. Default: 150 s. */
  readonly idleTimeoutMs?: number | undefined;
  /** Default: 1 s to 30 s. */
  readonly backoff?: BackoffRange | undefined;
  /** Deadline of one page of a list. Default: 60 s. */
  readonly listTimeoutMs?: number | undefined;
}

/** Failures of the watch in a row after which the cause may lie in the resource version: list again. */
const failuresBeforeRelist = 5;

/** A watch that lived so long was sound, even when nothing happened in it. */
const longLifeMs = 60_000;

export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #sink: ReflectorSink<T>;
  readonly #backoff: Backoff;
  readonly #aborter = new AbortController();
  #resourceVersion = "";
  #synced = false;
  #finished: Promise<void> | undefined;

  constructor(options: ReflectorOptions<T>, sink: ReflectorSink<T>) {
    this.#options = options;
    this.#sink = sink;
    this.#backoff = new Backoff(options.backoff ?? { minMs: 1_000, maxMs: 30_000 });
  }

  /** Begins to list and watch; returns at once. A second call does nothing. */
  start(): void {
    this.#finished ??= this.#run();
  }

  /** Resolves when nothing runs any more: no request is open, no timer pending, no sink call will follow. */
  async stop(): Promise<void> {
    this.#aborter.abort();
    await this.#finished;
  }

  /** True from the first full list on. */
  get hasSynced(): boolean {
    return this.#synced;
  }

  /** Version of the last list, event or bookmark; empty before the first list. */
  get resourceVersion(): string {
    return this.#resourceVersion;
  }

  #isStopped(): boolean {
    return this.#aborter.signal.aborted;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped()) {
      try {
        await this.#list();
        await this.#watchUntilStale();
      } catch (error) {
        if (!this.#isStopped()) this.#warn("The list failed", error);
      }
      await sleep(this.#backoff.nextMs(), this.#aborter.signal);
    }
  }

  async #list(): Promise<void> {
    const { cluster, resource, project } = this.#options;
    const startedAt = performance.now();
    const list = await listPages(cluster, this.#options, {
      pageLimit: this.#options.pageLimit,
      timeoutMs: this.#options.listTimeoutMs ?? 60_000,
      signal: this.#aborter.signal,
      ...(project === undefined ? {} : { project }),
    });
    if (this.#isStopped()) return;
    this.#resourceVersion = list.resourceVersion;
    this.#tell(() => {
      this.#sink.replaced(list.items);
    });
    this.#synced = true;
    cluster.telemetry.listed(resource.plural, list.items.length, (performance.now() - startedAt) / 1000);
  }

  /** Watches, and watches again, until only a list can help. */
  async #watchUntilStale(): Promise<void> {
    let failures = 0;
    while (!this.#isStopped()) {
      const before = this.#resourceVersion;
      const startedAt = performance.now();
      const error = await this.#watchOnce();
      if (this.#isStopped()) return;
      const cause = causeOf(error);
      this.#options.cluster.telemetry.watchEnded(this.#options.resource.plural, cause);
      const progressed = this.#resourceVersion !== before || performance.now() - startedAt > longLifeMs;
      if (progressed) this.#backoff.reset();
      failures = progressed ? 0 : failures + 1;
      if (error !== undefined) this.#warn(`The watch ended (${cause})`, error);
      if (cause === "expired" || cause === "refused" || failures >= failuresBeforeRelist) return;
      // A server that ended a watch which had lived well expects us back now; all else waits.
      if (error !== undefined || !progressed) await sleep(this.#backoff.nextMs(), this.#aborter.signal);
    }
  }

  /** Returns what ended the watch; undefined when the server closed it in order. */
  async #watchOnce(): Promise<unknown> {
    const { cluster, resource, namespace, labelSelector, fieldSelector } = this.#options;
    const query = {
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: this.#resourceVersion,
      // Spread over 5 to 10 minutes, as client-go does, so that watches do not all end at once.
      timeoutSeconds: Math.floor(300 + Math.random() * 300),
      labelSelector,
      fieldSelector,
    };
    const request = {
      path: pathOf(resource, { namespace }),
      query,
      signal: this.#aborter.signal,
      timeoutMs: 30_000,
    };
    try {
      for await (const event of watchEvents<T>(cluster, request, this.#options.idleTimeoutMs ?? 150_000)) {
        if (this.#isStopped()) return undefined;
        if (event.type === "DELETED") this.#deliver(event.object, "removed");
        else if (event.type !== "BOOKMARK") this.#deliver(event.object, "upserted");
        this.#resourceVersion = event.object.metadata.resourceVersion;
        this.#backoff.reset();
      }
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #deliver(object: T, verb: "upserted" | "removed"): void {
    this.#tell(() => {
      this.#sink[verb](this.#options.project?.(object) ?? object);
    });
  }

  /** Runs one call of the sink or the projection; its errors are its own. */
  #tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#warn("A consumer of the watch threw", error);
    }
  }

  #warn(message: string, error: unknown): void {
    const { cluster, resource, namespace } = this.#options;
    cluster.telemetry.log("warn", message, { resource: resource.plural, namespace, error: String(error) });
  }
}

type WatchEnd = "closed" | "expired" | "refused" | "idle" | "malformed" | "failed";

function causeOf(error: unknown): WatchEnd {
  if (error === undefined) return "closed";
  if (isGone(error)) return "expired";
  if (error instanceof IdleWatch) return "idle";
  if (error instanceof MalformedWatchLine) return "malformed";
  if (error instanceof ApiError && error.status < 500 && !isTooManyRequests(error) && !isUnreachable(error))
    return "refused";
  return "failed";
}
