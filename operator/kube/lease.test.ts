/** The elector's loop against a server that it shares with a rival, on clocks that the test moves. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ApiError } from "./api-error.ts";
import type { ApiRequest } from "./api-request.ts";
import type { Cluster } from "./cluster.ts";
import { LeaderElector } from "./lease.ts";
import type { Lease } from "./object.ts";
import { silent } from "./telemetry.ts";

let stored: Lease | undefined;
let version: number;
let reachable: boolean;
let electors: LeaderElector[];
let wallClockMs: number;

beforeEach(() => {
  vi.useFakeTimers();
  stored = undefined;
  version = 0;
  reachable = true;
  electors = [];
  wallClockMs = Date.UTC(2026, 5, 1);
});

afterEach(async () => {
  reachable = true;
  await Promise.all(electors.map((elector) => elector.stop()));
  vi.useRealTimers();
});

/** Leases as the API server keeps them, with its optimistic lock. */
function request({ method, body }: ApiRequest): Promise<unknown> {
  if (!reachable) return Promise.reject(new ApiError(0, "Unreachable", "no route"));
  const sent = body as Lease | undefined;
  if ((method ?? "GET") === "GET") {
    return stored === undefined
      ? Promise.reject(new ApiError(404, "NotFound", "none"))
      : Promise.resolve(stored);
  }
  const taken = method === "POST" && stored !== undefined;
  const stale = method === "PUT" && sent?.metadata.resourceVersion !== stored?.metadata.resourceVersion;
  if (sent === undefined || taken || stale) return Promise.reject(new ApiError(409, "Conflict", "changed"));
  version += 1;
  stored = { ...sent, metadata: { ...sent.metadata, resourceVersion: String(version) } };
  return Promise.resolve(stored);
}

function elect(identity: string, lost: string[] = [], started: number[] = []): LeaderElector {
  const cluster = { telemetry: silent, request } as unknown as Cluster;
  const elector = new LeaderElector({
    cluster,
    namespace: "x",
    name: "operator",
    identity,
    wallClockMs: () => wallClockMs,
    onLost: (reason) => lost.push(reason),
    onStarted: (fence) => started.push(fence),
  });
  electors.push(elector);
  elector.start();
  return elector;
}

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

describe("a leader elector", () => {
  test("keeps the lease for hours without a rival ever getting it", async () => {
    const started: number[] = [];
    const first = elect("first", [], started);
    await pass(10);
    const second = elect("second", [], started);
    await pass(60 * 60_000);
    expect([first.isLeader, second.isLeader]).toEqual([true, false]);
    expect(started).toHaveLength(1);
  });

  test("keeps the lease while wall clocks step by years", async () => {
    const first = elect("first");
    await pass(10);
    const second = elect("second");
    for (const stepMs of [3e10, -6e10, 9e10]) {
      wallClockMs += stepMs;
      await pass(20_000);
      expect([first.isLeader, second.isLeader]).toEqual([true, false]);
    }
  });

  test("stops leading 10 s after its last renewal, 5 s before a rival may take over", async () => {
    const lost: string[] = [];
    const first = elect("first", lost);
    await pass(10);
    const fence = first.fence ?? 0;
    reachable = false;
    await pass(9_000);
    expect(first.isLeader).toBe(true);
    await pass(1_500);
    expect(first.isLeader).toBe(false);
    await pass(2_500);
    expect(lost).toEqual(["The lease could not be renewed in time"]);
    reachable = true;
    await pass(4_000);
    // Nobody else wanted it: a new term begins, with a fence of its own.
    expect(first.fence).toBe(fence + 1);
  });

  test("knows after a stall, before its loop has run, that it no longer leads", async () => {
    const first = elect("first");
    await pass(10);
    expect(first.isLeader).toBe(true);
    // The clock moves and no timer fires, as when the process is stopped and continued.
    const stalled = vi.spyOn(performance, "now").mockReturnValue(performance.now() + 11_000);
    expect(first.isLeader).toBe(false);
    expect(first.fence).toBeUndefined();
    stalled.mockRestore();
  });

  test("stops leading at once when another holds the lease", async () => {
    const lost: string[] = [];
    const first = elect("first", lost);
    await pass(10);
    if (stored !== undefined) {
      stored = {
        ...stored,
        metadata: { ...stored.metadata, resourceVersion: "forced" },
        spec: { ...stored.spec, holderIdentity: "usurper" },
      };
    }
    // One retry period: it learns of the other by its own next renewal.
    await pass(2_000);
    expect(first.isLeader).toBe(false);
    expect(lost).toEqual(["usurper holds the lease"]);
  });

  test("releases although its last renewal was answered to nobody", async () => {
    const first = elect("first");
    await pass(10);
    if (stored !== undefined)
      stored = { ...stored, metadata: { ...stored.metadata, resourceVersion: "renewed" } };
    await first.stop();
    expect(stored?.spec?.holderIdentity).toBe("");
  });

  test("a rival takes a released lease at its next try, and one that was not released after 15 s", async () => {
    const first = elect("first");
    await pass(10);
    const second = elect("second");
    await pass(2_500);
    await first.stop();
    await pass(2_500);
    expect(second.isLeader).toBe(true);
    const third = elect("third");
    await pass(2_500);
    reachable = false;
    await second.stop();
    reachable = true;
    await pass(10_000);
    expect(third.isLeader).toBe(false);
    await pass(8_000);
    expect(third.isLeader).toBe(true);
  });
});
