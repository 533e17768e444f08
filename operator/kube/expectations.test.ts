import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Expectations } from "./expectations.ts";

describe("expectations", () => {
  test("hold an owner back until every announced pod has come and gone", () => {
    const expectations = new Expectations();
    expectations.expectCreations("owner", ["pod-0", "pod-1"]);
    expectations.expectDeletions("owner", ["uid-7"]);
    expect(expectations.satisfied("owner")).toBe(false);
    expectations.creationObserved("owner", "pod-0");
    expectations.deletionObserved("owner", "uid-7");
    expect(expectations.awaited("owner")).toEqual({ creations: ["pod-1"], deletions: [] });
    expectations.creationObserved("owner", "pod-1");
    expect(expectations.satisfied("owner")).toBe(true);
  });

  test("of nothing hold nobody back", () => {
    const expectations = new Expectations();
    expectations.expectCreations("owner", []);
    expectations.expectDeletions("owner", []);
    expect(expectations.satisfied("owner")).toBe(true);
  });

  test("hold nobody else back", () => {
    const expectations = new Expectations();
    expectations.expectCreations("owner", ["pod-0"]);
    expect(expectations.satisfied("other")).toBe(true);
  });

  test("are given up when an event seems lost, and then do not burden the next ones", () => {
    let nowMs = 0;
    const expectations = new Expectations({ timeoutMs: 1_000, monotonicMs: () => nowMs });
    expectations.expectCreations("owner", ["lost"]);
    nowMs = 400;
    expect(expectations.remainingMs("owner")).toBe(600);
    nowMs = 1_000;
    expect(expectations.satisfied("owner")).toBe(true);
    expectations.expectCreations("owner", ["next"]);
    expect(expectations.awaited("owner").creations).toEqual(["next"]);
  });

  test("seeing one pod twice does not stand for another", () => {
    const expectations = new Expectations();
    expectations.expectCreations("owner", ["pod-0", "pod-1"]);
    expectations.creationObserved("owner", "pod-0");
    expectations.creationObserved("owner", "pod-0");
    expect(expectations.satisfied("owner")).toBe(false);
  });

  test("are satisfied exactly when all that was announced was observed or the time has passed", () => {
    const owner = fc.constantFrom("x", "y");
    const pod = fc.constantFrom("p", "q", "r");
    const step = fc.oneof(
      fc.record({ kind: fc.constantFrom("create", "created", "delete", "deleted"), owner, pod }),
      fc.record({ kind: fc.constant("wait"), ms: fc.integer({ min: 0, max: 700 }) }),
      fc.record({ kind: fc.constant("forget"), owner }),
    );
    const property = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let nowMs = 0;
      const expectations = new Expectations({ timeoutMs: 1_000, monotonicMs: () => nowMs });
      const awaited = new Map<string, Set<string>>();
      const since = new Map<string, number>();
      const holds = (name: string): boolean =>
        (awaited.get(name)?.size ?? 0) > 0 && nowMs < (since.get(name) ?? 0) + 1_000;
      for (const each of steps) {
        if ("ms" in each) nowMs += each.ms;
        else if (!("pod" in each)) {
          expectations.forget(each.owner);
          awaited.delete(each.owner);
        } else if (each.kind === "create" || each.kind === "delete") {
          const open = holds(each.owner) ? (awaited.get(each.owner) ?? new Set<string>()) : new Set<string>();
          awaited.set(each.owner, open.add(`${each.kind} ${each.pod}`));
          since.set(each.owner, nowMs);
          if (each.kind === "create") expectations.expectCreations(each.owner, [each.pod]);
          else expectations.expectDeletions(each.owner, [each.pod]);
        } else {
          awaited.get(each.owner)?.delete(`${each.kind.slice(0, -1)} ${each.pod}`);
          if (each.kind === "created") expectations.creationObserved(each.owner, each.pod);
          else expectations.deletionObserved(each.owner, each.pod);
        }
        for (const name of ["x", "y"]) expect(expectations.satisfied(name)).toBe(!holds(name));
      }
    });
    fc.assert(property, { numRuns: 1_000 });
  });
});
