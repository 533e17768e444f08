import { describe, expect, test } from "vitest";
import { nextLeaseStep, observeLease, type Candidate } from "./lease-record.ts";
import type { Lease } from "./object.ts";

const wallClockMs = Date.UTC(2026, 5, 1);

function lease(spec: Lease["spec"], resourceVersion = "1"): Lease {
  const metadata = {
    name: "operator",
    namespace: "x",
    uid: "u",
    resourceVersion,
    creationTimestamp: "2026-01-01T00:00:00Z",
  };
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata,
    ...(spec === undefined ? {} : { spec }),
  };
}

function candidate(values: Partial<Candidate> = {}): Candidate {
  return { identity: "me", leads: false, nowMs: 0, wallClockMs, ...values };
}

const held = { holderIdentity: "other", leaseDurationSeconds: 15, leaseTransitions: 7 };

describe("what a candidate does about a lease", () => {
  test("a lease that does not exist is created with a fence above that of any lease deleted before", () => {
    const step = nextLeaseStep(undefined, candidate());
    const earlier = nextLeaseStep(undefined, candidate({ wallClockMs: wallClockMs - 60_000 }));
    expect(step.kind).toBe("create");
    expect(step).toHaveProperty("transitions", 202_435_200);
    expect(earlier).toHaveProperty("transitions", 202_435_200 - 60);
  });

  test("a lease of another is waited for until its duration has passed since its last change was seen", () => {
    const observed = { lease: lease(held), seenAtMs: 1_000 };
    expect(nextLeaseStep(observed, candidate({ nowMs: 15_999 }))).toEqual({ kind: "wait", holder: "other" });
    expect(nextLeaseStep(observed, candidate({ nowMs: 16_000 }))).toEqual({
      kind: "acquire",
      transitions: 8,
    });
  });

  test("a renewal starts the wait anew, and the times inside the record do not matter", () => {
    const first = observeLease(undefined, lease({ ...held, renewTime: "1999-01-01T00:00:00.000000Z" }), 0);
    expect(observeLease(first, lease(held), 9_000).seenAtMs).toBe(0);
    const renewed = observeLease(
      first,
      lease({ ...held, renewTime: "2099-01-01T00:00:00.000000Z" }, "2"),
      9_000,
    );
    expect(renewed.seenAtMs).toBe(9_000);
    expect(nextLeaseStep(renewed, candidate({ nowMs: 23_999 })).kind).toBe("wait");
    expect(nextLeaseStep(renewed, candidate({ nowMs: 24_000 })).kind).toBe("acquire");
  });

  test("steps of the wall clock in either direction change nothing", () => {
    const observed = { lease: lease(held), seenAtMs: 0 };
    for (const stepMs of [-1e12, 0, 1e12]) {
      const step = nextLeaseStep(observed, candidate({ nowMs: 5_000, wallClockMs: wallClockMs + stepMs }));
      expect(step.kind).toBe("wait");
    }
  });

  test("a released lease is taken at once", () => {
    const released = { lease: lease({ ...held, holderIdentity: "" }), seenAtMs: 0 };
    expect(nextLeaseStep(released, candidate())).toEqual({ kind: "acquire", transitions: 8 });
  });

  test("the leader renews; a term that it lost is not taken up again but begun anew", () => {
    const mine = { lease: lease({ ...held, holderIdentity: "me" }), seenAtMs: 0 };
    expect(nextLeaseStep(mine, candidate({ leads: true })).kind).toBe("renew");
    expect(nextLeaseStep(mine, candidate({ leads: false }))).toEqual({ kind: "acquire", transitions: 8 });
  });
});
