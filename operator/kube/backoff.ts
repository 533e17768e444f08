/** Exponential back-off with jitter, and a sleep that ends early on request. */

export interface BackoffRange {
  readonly minMs: number;
  readonly maxMs: number;
}

export class Backoff {
  readonly #range: BackoffRange;
  readonly #random: () => number;
  #failures = 0;

  constructor(range: BackoffRange, random: () => number = Math.random) {
    this.#range = range;
    this.#random = random;
  }

  /** Next delay: min * 2^n up to max, of which the upper half is drawn at random, so that many clients spread out. */
  nextMs(): number {
    const { minMs, maxMs } = this.#range;
    const full = Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return full / 2 + (this.#random() * full) / 2;
  }

  /** Delays asked for since the last reset. */
  get failures(): number {
    return this.#failures;
  }

  reset(): void {
    this.#failures = 0;
  }
}

/** Resolves after `ms`, or at once when the signal is aborted; never rejects. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const wake = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal?.addEventListener("abort", wake);
  });
}
