/** Waits for what should come true, with a deadline. */
import { sleep } from "../backoff.ts";

/** Resolves once the condition holds; rejects with `what` at the deadline. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Not within ${String(timeoutMs)} ms: ${what}`);
    await sleep(10);
  }
}
