import { describe, expect, test } from "vitest";
import { ApiError } from "./api-error.ts";
import { EventRecorder, type EventRecorderOptions, type Occurrence } from "./events.ts";
import type { KubeObject } from "./object.ts";
import { eventually } from "./testing/eventually.ts";
import { recordedTelemetry, type RecordedTelemetry } from "./testing/recorded-telemetry.ts";
import type { ApiRequest } from "./api-request.ts";
import type { Cluster } from "./cluster.ts";

interface Sent {
  method: string | undefined;
  path: string;
  body: { note?: string; series?: { count: number } };
}

const refusal = new Error("the server refuses");

/** `faults`: of the next requests, first one first; undefined: that one is answered. */
function recorder(options: Partial<EventRecorderOptions> = {}, faults: (Error | undefined)[] = []) {
  const sent: Sent[] = [];
  const telemetry: RecordedTelemetry = recordedTelemetry();
  const request = (one: ApiRequest): Promise<unknown> => {
    sent.push({ method: one.method, path: one.path, body: one.body as Sent["body"] });
    const fault = faults.shift();
    return fault === undefined ? Promise.resolve({}) : Promise.reject(fault);
  };
  const cluster = { telemetry, request } as unknown as Cluster;
  return { sent, telemetry, recorder: new EventRecorder({ cluster, ...options }) };
}

function occurrence(note: string, uid = "u1"): Occurrence {
  const metadata = { name: "demo", namespace: "x", uid, resourceVersion: "1", creationTimestamp: "" };
  const regarding: KubeObject = { apiVersion: "csps.io/v1alpha1", kind: "SPGroup", metadata };
  return { regarding, type: "Normal", reason: "Formed", action: "Form", note };
}

describe("an event recorder", () => {
  test("writes the first at once and counts repeats up in one update", async () => {
    const { recorder: events, sent } = recorder({ seriesMs: 30 });
    for (let repeat = 0; repeat < 4; repeat += 1) events.record(occurrence("formed"));
    await eventually("the update", () => sent.length === 2);
    expect(sent.map(({ method }) => method)).toEqual(["POST", "PATCH"]);
    expect(sent[1]?.body.series?.count).toBe(4);
    expect(sent[1]?.path).toMatch(/^\/apis\/events\.k8s\.io\/v1\/namespaces\/x\/events\/demo\.[0-9a-f]{16}$/);
  });

  test("a repeat after six minutes is a new Event", async () => {
    let nowMs = 0;
    const { recorder: events, sent } = recorder({ monotonicMs: () => nowMs });
    events.record(occurrence("formed"));
    nowMs = 6 * 60_000 + 1;
    events.record(occurrence("formed"));
    await events.flush();
    expect(sent.map(({ method }) => method)).toEqual(["POST", "POST"]);
  });

  test("drops a flood about one object, keeps other objects' Events, and has room again later", async () => {
    let nowMs = 0;
    const {
      recorder: events,
      sent,
      telemetry,
    } = recorder({ burst: 3, refillMs: 1_000, monotonicMs: () => nowMs });
    for (let index = 0; index < 10; index += 1) events.record(occurrence(`note ${String(index)}`));
    events.record(occurrence("another", "u2"));
    nowMs = 1_000;
    events.record(occurrence("later"));
    await events.flush();
    expect(sent.map(({ body }) => body.note)).toEqual(["note 0", "note 1", "note 2", "another", "later"]);
    expect(telemetry.dropped).toEqual(Array(7).fill("rate_limited"));
  });

  test("never throws when the server refuses, and goes on", async () => {
    const { recorder: events, sent, telemetry } = recorder({}, [refusal, refusal]);
    events.record(occurrence("one"));
    events.record(occurrence("two"));
    await events.flush();
    expect(sent.length).toBe(2);
    expect(telemetry.dropped).toEqual(["failed", "failed"]);
  });

  test("makes an Event whose first write failed when it repeats, and one that has gone from the server", async () => {
    const gone = new ApiError(404, "NotFound", "gone");
    const { recorder: events, sent } = recorder({ seriesMs: 0 }, [refusal, undefined, gone]);
    for (let repeat = 1; repeat <= 4; repeat += 1) {
      events.record(occurrence("formed"));
      await events.flush();
    }
    expect(sent.map(({ method }) => method)).toEqual(["POST", "POST", "PATCH", "POST"]);
    expect(sent.map(({ body }) => body.series?.count)).toEqual([undefined, 2, 3, 4]);
  });

  test("goes on counting an Event that is there although the answer to its first write was lost", async () => {
    const taken = new ApiError(409, "AlreadyExists", "it is there");
    const { recorder: events, sent } = recorder({ seriesMs: 0 }, [refusal, taken]);
    for (let repeat = 1; repeat <= 3; repeat += 1) {
      events.record(occurrence("formed"));
      await events.flush();
    }
    expect(sent.map(({ method }) => method)).toEqual(["POST", "POST", "PATCH", "PATCH"]);
    expect(sent.at(-1)?.body.series?.count).toBe(3);
  });

  test("cuts a note to the 1,024 bytes that the API takes, between characters", async () => {
    const { recorder: events, sent } = recorder();
    events.record(occurrence("ü".repeat(2_000)));
    await events.flush();
    const note = sent[0]?.body.note ?? "";
    expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1_024);
    expect(note).toMatch(/^ü+…$/);
  });
});
