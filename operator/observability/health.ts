/** Named checks behind /healthz and /readyz. */

/** Throws, or rejects, with a sentence when something is wrong. */
export type Check = () => void | Promise<void>;

export interface HealthReport {
  readonly healthy: boolean;
  /** One line a check, in the API server's form: `[+]name ok` or `[-]name failed: why`. */
  readonly text: string;
}

export class HealthChecks {
  readonly #checks = new Map<string, Check>();
  readonly #deadlineMs: number;

  constructor(deadlineMs = 2_000) {
    this.#deadlineMs = deadlineMs;
  }

  /** Throws when the name is taken. */
  add(name: string, check: Check): this {
    if (this.#checks.has(name)) throw new Error(`There is a health check "${name}" already`);
    this.#checks.set(name, check);
    return this;
  }

  async report(): Promise<HealthReport> {
    const results = await Promise.all([...this.#checks].map(([name, check]) => this.#run(name, check)));
    const healthy = results.every((result) => result.healthy);
    const lines = [...results.map((result) => result.text), healthy ? "check passed" : "check failed"];
    return { healthy, text: `${lines.join("\n")}\n` };
  }

  async #run(name: string, check: Check): Promise<HealthReport> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`no answer in ${String(this.#deadlineMs)} ms`));
      }, this.#deadlineMs);
    });
    try {
      await Promise.race([(async () => check())(), deadline]);
      return { healthy: true, text: `[+]${name} ok` };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return { healthy: false, text: `[-]${name} failed: ${why}` };
    } finally {
      clearTimeout(timer);
    }
  }
}
