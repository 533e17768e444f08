/** Waiting for something to come true, with a deadline, and saying what is still wrong when it passes. */
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Calls `probe` until it returns without throwing. At the deadline the last error is thrown with what was
 * waited for and for how long.
 */
export async function eventually<T>(
  what: string,
  deadlineMs: number,
  probe: () => Promise<T>,
  everyMs = 1000,
): Promise<T> {
  const began = Date.now();
  let spoke = began;
  for (;;) {
    try {
      return await probe();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const elapsed = Date.now() - began;
      if (elapsed > deadlineMs) {
        throw new Error(`waited ${Math.round(elapsed / 1000)} s for ${what}: ${message}`, { cause: error });
      }
      if (Date.now() - spoke > 15_000) {
        spoke = Date.now();
        console.log(
          `   still waiting for ${what} (${Math.round(elapsed / 1000)} s): ${message.split("\n")[0] ?? ""}`,
        );
      }
    }
    await sleep(everyMs);
  }
}

/** Throws `message` unless `holds`; the form that probes use. */
export function demand(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message);
}
