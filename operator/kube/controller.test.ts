import { afterEach, describe, expect, test } from "vitest";
import { Controller, TerminalError, type ControllerOptions } from "./controller.ts";
import { eventually } from "./testing/eventually.ts";
import { recordedTelemetry } from "./testing/recorded-telemetry.ts";
import { WorkQueue } from "./workqueue.ts";

const running: Controller[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((controller) => controller.stop()));
});

function run(options: Partial<ControllerOptions> & Pick<ControllerOptions, "reconcile">) {
  const telemetry = recordedTelemetry();
  const queue = new WorkQueue({ name: "test" });
  const controller = new Controller({ name: "test", queue, telemetry, ...options }).start();
  running.push(controller);
  return { telemetry, queue, controller };
}

describe("a controller", () => {
  test("tries a failed key again with back-off, and forgets the failures after success", async () => {
    let calls = 0;
    const { telemetry, queue } = run({
      reconcile: async () => {
        calls += 1;
        if (calls < 3) throw new Error("not yet");
        return Promise.resolve(undefined);
      },
    });
    queue.add("a");
    await eventually("success", () => telemetry.results.length === 3);
    expect(telemetry.results).toEqual(["error", "error", "success"]);
    expect(queue.failuresOf("a")).toBe(0);
  });

  test("leaves a key with a terminal error alone until it changes", async () => {
    const { telemetry, queue } = run({
      reconcile: () => {
        throw new TerminalError("the spec can't be met");
      },
    });
    queue.add("a");
    await eventually("a result", () => telemetry.results.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(telemetry.results).toEqual(["terminal_error"]);
    queue.add("a");
    await eventually("a second result", () => telemetry.results.length === 2);
  });

  test("comes back when a reconcile asks for it", async () => {
    let calls = 0;
    const { telemetry, queue } = run({
      reconcile: () => {
        calls += 1;
        return Promise.resolve(calls === 1 ? { requeueAfterMs: 10 } : undefined);
      },
    });
    queue.add("a");
    await eventually("two calls", () => telemetry.results.length === 2);
    expect(telemetry.results).toEqual(["requeue_after", "success"]);
  });

  test("works on as many keys at once as allowed, and on no key twice", async () => {
    const working = new Set<string>();
    let most = 0;
    let finished = 0;
    const { queue } = run({
      concurrency: 3,
      reconcile: async (key) => {
        expect(working.has(key)).toBe(false);
        working.add(key);
        most = Math.max(most, working.size);
        await new Promise((resolve) => setTimeout(resolve, 5));
        working.delete(key);
        finished += 1;
        return undefined;
      },
    });
    for (let index = 0; index < 40; index += 1) queue.add(`key-${String(index % 8)}`);
    await eventually("all keys", () => finished >= 8 && working.size === 0 && queue.depth === 0);
    expect(most).toBe(3);
  });

  test("aborts a reconcile at its deadline, serves others, and gives the key to nobody until it has ended", async () => {
    const calls: string[] = [];
    let end: (() => void) | undefined;
    const { telemetry, queue } = run({
      deadlineMs: 20,
      reconcile: async (key, signal) => {
        calls.push(key);
        if (key === "slow" && end === undefined) {
          await new Promise<void>((resolve) => {
            end = resolve;
          });
          expect(signal.aborted).toBe(true);
        }
        return undefined;
      },
    });
    queue.add("slow");
    await eventually("the deadline", () => telemetry.results.includes("error"));
    queue.add("quick");
    await eventually("the other key", () => calls.includes("quick"));
    expect(calls).toEqual(["slow", "quick"]);
    end?.();
    await eventually("the slow key again", () => calls.length === 3);
    expect(calls).toEqual(["slow", "quick", "slow"]);
  });

  test("waits on stop for the reconcile that runs, and starts no other", async () => {
    let ended = false;
    let end: (() => void) | undefined;
    const { queue, controller, telemetry } = run({
      reconcile: async () => {
        await new Promise<void>((resolve) => {
          end = resolve;
        });
        ended = true;
        return undefined;
      },
    });
    queue.add("a");
    queue.add("b");
    await eventually("a is taken", () => end !== undefined);
    const stopped = controller.stop().then(() => ended);
    end?.();
    expect(await stopped).toBe(true);
    expect(telemetry.results).toEqual(["success"]);
  });
});
