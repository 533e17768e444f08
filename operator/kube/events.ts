/**
 * Tells people what happened to an object, as events.k8s.io/v1 Events. Best effort: never throws, never blocks a
 * reconcile, drops rather than floods. A repeat within six minutes counts up the series of the first Event.
 */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { isAlreadyExists, isNotFound } from "./api-error.ts";
import { create, mergePatch } from "./apply.ts";
import type { Cluster } from "./cluster.ts";
import type { KubeObject } from "./object.ts";
import { events } from "./resource.ts";

export interface Occurrence {
  readonly regarding: KubeObject;
  readonly type: "Normal" | "Warning";
  /** UpperCamelCase, from a closed list. */
  readonly reason: string;
  /** What the operator did or tried, UpperCamelCase. */
  readonly action: string;
  /** A sentence for people. */
  readonly note: string;
  readonly related?: KubeObject | undefined;
}

export interface EventRecorderOptions {
  readonly cluster: Cluster;
  /** Default: `csps.io/operator`. */
  readonly controller?: string | undefined;
  /** Default: host name. */
  readonly instance?: string | undefined;
  /** Events of one object in a burst. Default: 25. */
  readonly burst?: number | undefined;
  /** Time after which the object may have one more. Default: 60 s. */
  readonly refillMs?: number | undefined;
  /** Least time between two updates of a series. Default: 10 s. */
  readonly seriesMs?: number | undefined;
  readonly monotonicMs?: (() => number) | undefined;
}

interface Series {
  readonly occurrence: Occurrence;
  readonly namespace: string;
  readonly name: string;
  /** Whether the Event is on the server. Else the next repeat makes it: the first write failed, or it has expired. */
  written: boolean;
  count: number;
  lastSeenMs: number;
  lastSeenTime: string;
  lastWrittenMs: number;
  /** Set while an update waits for its time. */
  timer: NodeJS.Timeout | undefined;
}

interface Bucket {
  tokens: number;
  filledAtMs: number;
}

/** A repeat after so long is a new Event, as in client-go. */
const seriesLifetimeMs = 6 * 60_000;
/** The API's limit of `note`. */
const maxNoteLength = 1024;
/** Requests under way or waiting; beyond it Events are dropped. */
const maxPending = 200;

export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #monotonicMs: () => number;
  readonly #series = new Map<string, Series>();
  readonly #buckets = new Map<string, Bucket>();
  /** One request after the other. */
  #tail: Promise<void> = Promise.resolve();
  #pending = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#monotonicMs = options.monotonicMs ?? ((): number => performance.now());
  }

  /** Returns at once; the Event is written in the background. */
  record(occurrence: Occurrence): void {
    const nowMs = this.#monotonicMs();
    this.#forgetOld(nowMs);
    const key = keyOfOccurrence(occurrence);
    const series = this.#series.get(key);
    if (series !== undefined) {
      series.count += 1;
      series.lastSeenMs = nowMs;
      series.lastSeenTime = microTime();
      this.#scheduleSeries(series, nowMs);
      return;
    }
    if (!this.#spend(occurrence.regarding.metadata.uid, nowMs)) {
      this.#drop("rate_limited");
      return;
    }
    const namespace = occurrence.regarding.metadata.namespace ?? "default";
    const name = `${occurrence.regarding.metadata.name.slice(0, 200)}.${randomBytes(8).toString("hex")}`;
    const time = microTime();
    const fresh = {
      ...{ occurrence, namespace, name, written: false, count: 1 },
      ...{ lastSeenMs: nowMs, lastSeenTime: time, lastWrittenMs: nowMs, timer: undefined },
    };
    this.#series.set(key, fresh);
    this.#writeSeries(fresh);
  }

  /** Writes the series that wait for their time and resolves when every request has ended, or at the deadline. */
  async flush(timeoutMs = 5_000): Promise<void> {
    for (const series of this.#series.values()) {
      if (series.timer !== undefined) this.#writeSeries(series);
    }
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([this.#tail, deadline]);
    clearTimeout(timer);
  }

  #eventOf(series: Series): Parameters<typeof create<NonNullable<typeof events.object>>>[2] {
    const { occurrence } = series;
    const { regarding, related } = occurrence;
    return {
      metadata: { namespace: series.namespace, name: series.name },
      eventTime: series.lastSeenTime,
      type: occurrence.type,
      reason: occurrence.reason.slice(0, 128),
      action: occurrence.action.slice(0, 128),
      note: truncate(occurrence.note),
      regarding: referenceTo(regarding),
      ...(related === undefined ? {} : { related: referenceTo(related) }),
      ...(series.count === 1 ? {} : repeatsOf(series)),
      reportingController: this.#options.controller ?? "csps.io/operator",
      reportingInstance: (this.#options.instance ?? hostname()).slice(0, 128),
    };
  }

  /** Repeats are written together, at most once in `seriesMs`. */
  #scheduleSeries(series: Series, nowMs: number): void {
    if (series.timer !== undefined) return;
    const waitMs = Math.max(0, series.lastWrittenMs + (this.#options.seriesMs ?? 10_000) - nowMs);
    series.timer = setTimeout(() => {
      this.#writeSeries(series);
    }, waitMs);
    // A pending count must not keep a process alive that wants to exit.
    series.timer.unref();
  }

  #writeSeries(series: Series): void {
    clearTimeout(series.timer);
    series.timer = undefined;
    series.lastWrittenMs = this.#monotonicMs();
    this.#send(() => (series.written ? this.#update(series) : this.#make(series)));
  }

  async #make(series: Series): Promise<void> {
    try {
      await create(this.#options.cluster, events, this.#eventOf(series), { timeoutMs: 5_000 });
    } catch (error) {
      // An earlier write did reach the server, and its answer did not reach us.
      if (!isAlreadyExists(error)) throw error;
      await this.#update(series);
    }
    series.written = true;
  }

  async #update(series: Series): Promise<void> {
    const { namespace, name } = series;
    const target = { metadata: { namespace, name } };
    try {
      await mergePatch(this.#options.cluster, events, target, repeatsOf(series), { timeoutMs: 5_000 });
    } catch (error) {
      if (isNotFound(error)) series.written = false;
      throw error;
    }
  }

  #send(write: () => Promise<void>): void {
    if (this.#pending >= maxPending) {
      this.#drop("backlog");
      return;
    }
    this.#pending += 1;
    this.#tail = this.#tail.then(write).then(undefined, (error: unknown) => {
      // An Event that expired on the server, or whose namespace is going, is not worth a word.
      if (!isNotFound(error))
        this.#options.cluster.telemetry.log("warn", "An Event was not written", { error: String(error) });
      this.#drop("failed");
    });
    this.#tail = this.#tail.then(() => {
      this.#pending -= 1;
    });
  }

  /** Token bucket of one object. */
  #spend(uid: string, nowMs: number): boolean {
    const { burst = 25, refillMs = 60_000 } = this.#options;
    const bucket = this.#buckets.get(uid) ?? { tokens: burst, filledAtMs: nowMs };
    const tokens = Math.min(burst, bucket.tokens + (nowMs - bucket.filledAtMs) / refillMs);
    const spent = tokens >= 1;
    this.#buckets.set(uid, { tokens: spent ? tokens - 1 : tokens, filledAtMs: nowMs });
    return spent;
  }

  #forgetOld(nowMs: number): void {
    for (const [key, series] of this.#series) {
      if (series.timer === undefined && nowMs - series.lastSeenMs > seriesLifetimeMs)
        this.#series.delete(key);
    }
    const { burst = 25, refillMs = 60_000 } = this.#options;
    for (const [uid, bucket] of this.#buckets) {
      if (nowMs - bucket.filledAtMs > burst * refillMs) this.#buckets.delete(uid);
    }
  }

  #drop(reason: string): void {
    this.#options.cluster.telemetry.eventDropped(reason);
  }
}

function keyOfOccurrence({ regarding, type, reason, action, note, related }: Occurrence): string {
  return JSON.stringify([regarding.metadata.uid, type, reason, action, note, related?.metadata.uid]);
}

function repeatsOf({ count, lastSeenTime }: Series): {
  series: { count: number; lastObservedTime: string };
} {
  return { series: { count, lastObservedTime: lastSeenTime } };
}

function referenceTo(object: KubeObject): Record<string, string> {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const { apiVersion, kind } = object;
  return { apiVersion, kind, name, uid, resourceVersion, ...(namespace === undefined ? {} : { namespace }) };
}

/** At most 1,024 bytes as the server counts them. */
function truncate(note: string): string {
  if (Buffer.byteLength(note) <= maxNoteLength) return note;
  return `${Buffer.from(note)
    .subarray(0, maxNoteLength - 6)
    .toString("utf8")
    .replace(/\uFFFD+$/, "")}…`;
}

function microTime(): string {
  return new Date().toISOString().replace(/Z$/, "000Z");
}
