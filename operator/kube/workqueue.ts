/**
 * Keys to work on, each at most once at a time (the scheme of client-go's workqueue).
 *
 * A key that is added while it waits is one entry (`dirty`); one that is added while it is worked on (`processing`)
 * waits again only after `done`. So no change is lost, and no key has two workers.
 */
import { silent, type Telemetry } from "./telemetry.ts";

export interface WorkQueueOptions {
  readonly name: string;
  /** First delay of `addRateLimited`; doubles with each failure in a row. Default: 5 ms. */
  readonly minDelayMs?: number | undefined;
  /** Default: 60 s. */
  readonly maxDelayMs?: number | undefined;
  readonly telemetry?: Telemetry | undefined;
  /** Milliseconds of a clock that never steps back. */
  readonly monotonicMs?: (() => number) | undefined;
}

/** A longer timer would fire at once. */
const longestTimerMs = 2 ** 31 - 1;

export class WorkQueue {
  readonly name: string;
  readonly #minDelayMs: number;
  readonly #maxDelayMs: number;
  readonly #telemetry: Telemetry;
  readonly #monotonicMs: () => number;
  /** Keys that wait, in order, with the time of their first add. */
  readonly #waiting = new Map<string, number>();
  /** Keys that need work: those that wait, and those in `processing` that changed meanwhile. */
  readonly #dirty = new Map<string, number>();
  /** Keys that a worker has, with the time of the take. */
  readonly #processing = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  readonly #delayed = new Map<string, { timer: NodeJS.Timeout; dueAt: number }>();
  #takers: ((key: string | undefined) => void)[] = [];
  #idleListeners: (() => void)[] = [];
  #shutDown = false;

  constructor(options: WorkQueueOptions) {
    this.name = options.name;
    this.#minDelayMs = options.minDelayMs ?? 5;
    this.#maxDelayMs = options.maxDelayMs ?? 60_000;
    this.#telemetry = options.telemetry ?? silent;
    this.#monotonicMs = options.monotonicMs ?? ((): number => performance.now());
  }

  /** Keys that wait; those with a delay or with a worker are not counted. */
  get depth(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    if (this.#shutDown || this.#dirty.has(key)) return;
    const now = this.#monotonicMs();
    this.#dirty.set(key, now);
    this.#telemetry.queueAdded(this.name);
    if (!this.#processing.has(key)) this.#enqueue(key, now);
  }

  /** Adds the key after a delay; of several delays of a key the earliest counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#shutDown) return;
    if (delayMs <= 0) {
      this.add(key);
      return;
    }
    const waitMs = Math.min(delayMs, longestTimerMs);
    const dueAt = this.#monotonicMs() + waitMs;
    const present = this.#delayed.get(key);
    if (present !== undefined && present.dueAt <= dueAt) return;
    clearTimeout(present?.timer);
    const timer = setTimeout(() => {
      this.#delayed.delete(key);
      this.add(key);
    }, waitMs);
    this.#delayed.set(key, { timer, dueAt });
  }

  /** Adds the key after its back-off, which grows until `forget`. */
  addRateLimited(key: string): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    this.#telemetry.queueRetried(this.name);
    this.addAfter(key, Math.min(this.#maxDelayMs, this.#minDelayMs * 2 ** Math.min(failures, 40)));
  }

  /** Ends the back-off of a key, after success. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Failures in a row. */
  failuresOf(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** The next key, when there is one; undefined after shutdown. Each key must be given back with `done`. */
  take(): Promise<string | undefined> {
    const next = this.#dequeue();
    if (next !== undefined || this.#shutDown) return Promise.resolve(next);
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  /** The worker has finished with the key; when it changed meanwhile, it waits again. */
  done(key: string): void {
    const takenAt = this.#processing.get(key);
    if (takenAt === undefined) return;
    this.#processing.delete(key);
    this.#telemetry.queueWorked(this.name, (this.#monotonicMs() - takenAt) / 1000);
    const changedAt = this.#dirty.get(key);
    if (changedAt !== undefined) this.#enqueue(key, changedAt);
    this.#announceIdle();
  }

  /**
   * Accepts nothing more, and hands out nothing more either unless `finishWaiting` asks for what waits to be worked
   * off first. Resolves when every taken key is done.
   */
  shutDown(options: { readonly finishWaiting?: boolean } = {}): Promise<void> {
    this.#shutDown = true;
    for (const { timer } of this.#delayed.values()) clearTimeout(timer);
    this.#delayed.clear();
    if (options.finishWaiting !== true) {
      this.#waiting.clear();
      this.#dirty.clear();
    }
    for (const taker of this.#takers) taker(undefined);
    this.#takers = [];
    this.#telemetry.queueDepth(this.name, this.#waiting.size);
    return new Promise((resolve) => {
      this.#idleListeners.push(resolve);
      this.#announceIdle();
    });
  }

  #enqueue(key: string, since: number): void {
    this.#waiting.set(key, since);
    const taker = this.#takers.shift();
    if (taker !== undefined) taker(this.#dequeue());
    else this.#telemetry.queueDepth(this.name, this.#waiting.size);
  }

  #dequeue(): string | undefined {
    const first = this.#waiting.entries().next();
    if (first.done === true) return undefined;
    const [key, addedAt] = first.value;
    const now = this.#monotonicMs();
    this.#waiting.delete(key);
    this.#dirty.delete(key);
    this.#processing.set(key, now);
    this.#telemetry.queueWaited(this.name, (now - addedAt) / 1000);
    this.#telemetry.queueDepth(this.name, this.#waiting.size);
    return key;
  }

  #announceIdle(): void {
    if (!this.#shutDown || this.#processing.size + this.#waiting.size > 0) return;
    for (const listener of this.#idleListeners) listener();
    this.#idleListeners = [];
  }
}
