import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WorkQueue } from "./workqueue.ts";

describe("a work queue", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  test("hands a key out once however often it was added", async () => {
    const queue = new WorkQueue({ name: "test" });
    for (const key of ["a", "b", "a", "a"]) queue.add(key);
    expect(queue.depth).toBe(2);
    expect([await queue.take(), await queue.take()]).toEqual(["a", "b"]);
  });

  test("hands a key that changed during its work out again, but only after the work", async () => {
    const queue = new WorkQueue({ name: "test" });
    queue.add("a");
    await queue.take();
    queue.add("a");
    expect(queue.depth).toBe(0);
    queue.done("a");
    expect(await queue.take()).toBe("a");
  });

  test("gives a waiting worker the next key", async () => {
    const queue = new WorkQueue({ name: "test" });
    const taken = queue.take();
    queue.add("a");
    expect(await taken).toBe("a");
  });

  test("doubles the back-off of a failing key from 5 ms to the cap and starts over after success", () => {
    const queue = new WorkQueue({ name: "test", maxDelayMs: 60_000 });
    const waits: number[] = [];
    for (let failure = 0; failure < 16; failure += 1) {
      const startedAt = performance.now();
      queue.addRateLimited("a");
      vi.advanceTimersToNextTimer();
      waits.push(Math.round(performance.now() - startedAt));
    }
    expect(waits.slice(0, 4)).toEqual([5, 10, 20, 40]);
    expect(waits.at(-1)).toBe(60_000);
    expect(queue.failuresOf("a")).toBe(16);
    queue.forget("a");
    expect(queue.failuresOf("a")).toBe(0);
  });

  test("of several delays of a key keeps the earliest", () => {
    const queue = new WorkQueue({ name: "test" });
    queue.addAfter("a", 1_000);
    queue.addAfter("a", 100);
    queue.addAfter("a", 5_000);
    vi.advanceTimersByTime(100);
    expect(queue.depth).toBe(1);
    vi.advanceTimersByTime(10_000);
    expect(queue.depth).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a delay beyond what a timer can hold does not fire at once", () => {
    const queue = new WorkQueue({ name: "test" });
    queue.addAfter("a", Infinity);
    vi.advanceTimersByTime(24 * 60 * 60_000);
    expect(queue.depth).toBe(0);
  });

  test("on shutdown ends waiting workers, drops delays and waits for running work", async () => {
    const queue = new WorkQueue({ name: "test" });
    queue.add("a");
    await queue.take();
    const idle = queue.take();
    queue.add("a");
    queue.addAfter("b", 10);
    let drained = false;
    const shutDown = queue.shutDown().then(() => {
      drained = true;
    });
    expect(await idle).toBeUndefined();
    expect(drained).toBe(false);
    queue.done("a");
    await shutDown;
    expect(await queue.take()).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("on shutdown works off what waits when asked to", async () => {
    const queue = new WorkQueue({ name: "test" });
    queue.add("a");
    await queue.take();
    queue.add("a");
    queue.add("b");
    let drained = false;
    const shutDown = queue.shutDown({ finishWaiting: true }).then(() => {
      drained = true;
    });
    queue.add("late");
    expect(await queue.take()).toBe("b");
    queue.done("b");
    queue.done("a");
    expect(await queue.take()).toBe("a");
    expect(drained).toBe(false);
    queue.done("a");
    await shutDown;
    expect(await queue.take()).toBeUndefined();
  });

  test("reports depth, adds, retries and times", async () => {
    const told: string[] = [];
    const { silent } = await import("./telemetry.ts");
    let nowMs = 0;
    const queue = new WorkQueue({
      name: "test",
      monotonicMs: () => nowMs,
      telemetry: {
        ...silent,
        queueAdded: () => told.push("added"),
        queueRetried: () => told.push("retried"),
        queueDepth: (_, depth) => told.push(`depth ${String(depth)}`),
        queueWaited: (_, seconds) => told.push(`waited ${String(seconds)}`),
        queueWorked: (_, seconds) => told.push(`worked ${String(seconds)}`),
      },
    });
    queue.add("a");
    nowMs = 2_000;
    await queue.take();
    nowMs = 5_000;
    queue.done("a");
    queue.addRateLimited("a");
    expect(told).toEqual(["added", "depth 1", "waited 2", "depth 0", "worked 3", "retried"]);
  });
});

describe("for any interleaving of adds and workers", () => {
  type Step = { readonly kind: "add" | "finish"; readonly key: string } | { readonly kind: "take" };
  const key = fc.constantFrom("a", "b", "c");
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constantFrom("add" as const, "finish" as const), key }),
    fc.constant({ kind: "take" } as const),
  );

  test("no change is lost and no key has two workers", async () => {
    const property = fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
      const queue = new WorkQueue({ name: "test" });
      /** Changes of each key, and the last change that work which began later has covered. */
      const changes = new Map<string, number>();
      const covered = new Map<string, number>();
      const working = new Set<string>();
      const take = async (): Promise<void> => {
        if (queue.depth === 0) return;
        const taken = await queue.take();
        if (taken === undefined) throw new Error("A queue that is open ended a worker");
        expect(working.has(taken)).toBe(false);
        working.add(taken);
        covered.set(taken, changes.get(taken) ?? 0);
      };
      const finish = (worked: string): void => {
        if (working.delete(worked)) queue.done(worked);
      };
      for (const each of steps) {
        if (each.kind === "take") await take();
        else if (each.kind === "finish") finish(each.key);
        else {
          changes.set(each.key, (changes.get(each.key) ?? 0) + 1);
          queue.add(each.key);
        }
      }
      while (working.size > 0 || queue.depth > 0) {
        for (const worked of [...working]) finish(worked);
        await take();
      }
      expect(covered).toEqual(changes);
    });
    await fc.assert(property, { numRuns: 500 });
  });

  test("concurrent workers never hold the same key and see every change", async () => {
    const property = fc.asyncProperty(
      fc.scheduler(),
      fc.array(key, { minLength: 1, maxLength: 30 }),
      async (scheduler, adds) => {
        const queue = new WorkQueue({ name: "test" });
        const working = new Set<string>();
        const added = new Set<string>();
        const changes = new Map<string, number>();
        const covered = new Map<string, number>();
        const worker = async (): Promise<void> => {
          for (;;) {
            const taken = await queue.take();
            if (taken === undefined) return;
            expect(working.has(taken)).toBe(false);
            working.add(taken);
            covered.set(taken, changes.get(taken) ?? 0);
            await scheduler.schedule(Promise.resolve(), `work on ${taken}`);
            working.delete(taken);
            queue.done(taken);
          }
        };
        const workers = [worker(), worker(), worker()];
        const producers = adds.map((each) =>
          scheduler.schedule(Promise.resolve(), `add ${each}`).then(() => {
            added.add(each);
            changes.set(each, (changes.get(each) ?? 0) + 1);
            queue.add(each);
          }),
        );
        await scheduler.waitFor(Promise.all(producers));
        await scheduler.waitIdle();
        await queue.shutDown();
        await Promise.all(workers);
        expect(covered).toEqual(changes);
        expect(added.size).toBe(covered.size);
      },
    );
    await fc.assert(property, { numRuns: 200 });
  });
});
