/** Runs a reconcile function over the keys of a work queue, and turns its result into the next entry of the queue. */
import { silent, type Telemetry } from "./telemetry.ts";
import type { WorkQueue } from "./workqueue.ts";

/** Waiting does not help: the key is left alone until its object changes. */
export class TerminalError extends Error {
  override readonly name = "TerminalError";
}

export interface ReconcileOutcome {
  /** When to look at the key again if nothing changes before. */
  readonly requeueAfterMs?: number | undefined;
}

export interface ControllerOptions {
  readonly name: string;
  readonly queue: WorkQueue;
  /** Throws TerminalError, or anything else to be retried with back-off. The signal is aborted at the deadline. */
  reconcile(key: string, signal: AbortSignal): Promise<ReconcileOutcome | undefined>;
  /** Keys worked on at once. Default: 1. */
  readonly concurrency?: number | undefined;
  /** Default: 60 s. */
  readonly deadlineMs?: number | undefined;
  readonly telemetry?: Telemetry | undefined;
}

/** Thrown on a reconcile's behalf when its deadline passes. */
export class ReconcileDeadlineExceeded extends Error {
  override readonly name = "ReconcileDeadlineExceeded";
}

export class Controller {
  readonly #options: ControllerOptions;
  readonly #telemetry: Telemetry;
  #workers: Promise<void>[] = [];

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#telemetry = options.telemetry ?? silent;
  }

  /** Starts the workers. Start once the informers have synced, lest absence be taken for deletion. */
  start(): this {
    if (this.#workers.length > 0) return this;
    this.#workers = Array.from({ length: this.#options.concurrency ?? 1 }, () => this.#work());
    return this;
  }

  /** Resolves when every running reconcile has ended; what waits in the queue is dropped. */
  async stop(): Promise<void> {
    await this.#options.queue.shutDown();
    await Promise.all(this.#workers);
  }

  async #work(): Promise<void> {
    for (;;) {
      const key = await this.#options.queue.take();
      if (key === undefined) return;
      await this.#process(key);
    }
  }

  /**
   * Resolves when the reconcile ends or its deadline passes. After the deadline the worker goes on to other keys, but
   * the key stays taken until the late reconcile ends, so that no key ever has two at once.
   */
  async #process(key: string): Promise<void> {
    const { name, queue, deadlineMs = 60_000 } = this.#options;
    const startedAt = performance.now();
    const aborter = new AbortController();
    this.#telemetry.reconcileStarted(name);
    const running = this.#call(key, aborter.signal);
    const settled = running.then(
      () => undefined,
      () => undefined,
    );
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const error = new ReconcileDeadlineExceeded(`The reconcile did not end in ${String(deadlineMs)} ms`);
        aborter.abort(error);
        reject(error);
      }, deadlineMs);
    });
    try {
      const outcome = await Promise.race([running, deadline]);
      this.#succeeded(key, outcome, startedAt);
    } catch (error) {
      this.#failed(key, error, startedAt);
    } finally {
      clearTimeout(timer);
      void settled.then(() => {
        queue.done(key);
      });
    }
  }

  /** A reconcile that throws before its first await rejects like any other. */
  async #call(key: string, signal: AbortSignal): Promise<ReconcileOutcome | undefined> {
    return this.#options.reconcile(key, signal);
  }

  #succeeded(key: string, outcome: ReconcileOutcome | undefined, startedAt: number): void {
    const { name, queue } = this.#options;
    const after = outcome?.requeueAfterMs;
    queue.forget(key);
    if (after !== undefined) queue.addAfter(key, after);
    this.#telemetry.reconciled(
      name,
      after === undefined ? "success" : "requeue_after",
      secondsSince(startedAt),
    );
  }

  #failed(key: string, error: unknown, startedAt: number): void {
    const { name, queue } = this.#options;
    const terminal = error instanceof TerminalError;
    if (terminal) queue.forget(key);
    else queue.addRateLimited(key);
    this.#telemetry.reconciled(name, terminal ? "terminal_error" : "error", secondsSince(startedAt));
    const failures = queue.failuresOf(key);
    this.#telemetry.log("error", "The reconcile failed", {
      controller: name,
      key,
      terminal,
      failures,
      error: textOf(error),
    });
  }
}

function secondsSince(startedAt: number): number {
  return (performance.now() - startedAt) / 1000;
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
