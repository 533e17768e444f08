import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { aGangSpec, aRankPod, anObservation } from "../testing/builders.ts";
import { type Fault, simulate } from "../testing/simulate.ts";
import type { GangObservation } from "./observed.ts";
import { defaultGangPolicy, type GangPlan, planGang } from "./plan.ts";

const gated = {
  gated: true,
  bound: false,
  phase: "Pending",
  ready: false,
  node: undefined,
  address: undefined,
};

function plan(over: Partial<GangObservation>): GangPlan {
  return planGang(anObservation(over), defaultGangPolicy);
}

describe("planGang", () => {
  it("makes all missing ranks and places none of them before all are there", () => {
    expect(plan({})).toMatchObject({ create: [0, 1], place: [], remove: [] });
    expect(plan({ pods: [aRankPod(0, gated)] })).toMatchObject({ create: [1], place: [] });
  });

  it("places all gated ranks together", () => {
    const pods = [aRankPod(0, gated), aRankPod(1, gated)];
    expect(plan({ pods }).place.map((pod) => pod.rankId)).toEqual(["g-0", "g-1"]);
  });

  it("places a successor beside the ranks that live, without waiting for others", () => {
    const spec = aGangSpec({ ranks: 3, minRanks: 1 });
    const dying = aRankPod(2, { deletingForMs: 1_000 });
    const decided = plan({ spec, pods: [aRankPod(0), aRankPod(1, gated), dying] });
    expect(decided.place.map((pod) => pod.rankId)).toEqual(["g-1"]);
    expect(decided.stayWith).toEqual(["n0"]);
    expect(decided.create).toEqual([]);
  });

  it.each([
    [
      "failed",
      { phase: "Failed", exitReason: "code 1" },
      { reason: "Failed", force: false, failure: "code 1" },
    ],
    ["ended", { phase: "Succeeded" }, { reason: "Finished", force: false, failure: undefined }],
    ["is of another revision", { revision: "r0" }, { reason: "OtherRevision", force: false }],
    [
      "hangs on a lost node",
      { nodeReady: false, deletingForMs: 30_000 },
      { reason: "NodeLost", force: true },
    ],
    ["can't be scheduled", { bound: false, unschedulableForMs: 30_000 }, { reason: "Unschedulable" }],
  ])("removes a rank that %s", (_, state, removal) => {
    expect(plan({ pods: [aRankPod(0, state), aRankPod(1)] }).remove).toMatchObject([
      { rankId: "g-0", ...removal },
    ]);
  });

  it.each([
    ["is being deleted on a living node", { deletingForMs: 300_000 }],
    ["is on a lost node but not being deleted yet", { nodeReady: false }],
    ["has waited for the scheduler for a moment", { bound: false, unschedulableForMs: 29_000 }],
  ])("leaves a rank alone that %s", (_, state) => {
    expect(plan({ pods: [aRankPod(0, state), aRankPod(1)] }).remove).toEqual([]);
  });

  it("removes ranks beyond the size, and an engine that reports failure", () => {
    const engine = {
      ...{
        rankId: "g-0",
        incarnation: "uid-0",
        phase: "failed",
        reason: "no model",
        fence: 0,
        generation: 0,
      },
      ...{ epoch: 0, epochMembers: [], coordinator: undefined, busy: false, heldPages: 0, kvFormat: "f" },
    };
    const decided = plan({
      pods: [aRankPod(0), aRankPod(1), aRankPod(2)],
      engines: new Map([["g-0", engine]]),
    });
    expect(decided.remove).toMatchObject([
      { rankId: "g-0", reason: "EngineFailed", failure: "no model" },
      { rankId: "g-2", reason: "BeyondSize" },
    ]);
  });

  it("waits 10 s after a failure, doubles to 300 s, and gives up past the budget with the last reason", () => {
    const at = 1_000_000;
    const failing = (count: number, nowMs: number): GangPlan => {
      const failuresMs = Array.from({ length: count }, (_, index) => at - (count - 1 - index));
      const memory = { ...anObservation().memory, failuresMs, lastFailure: "g-0: code 137" };
      return plan({ memory, nowMs, pods: [aRankPod(1)] });
    };
    expect(failing(1, at + 9_999)).toMatchObject({ create: [], backoffMs: 1 });
    expect(failing(1, at + 10_000)).toMatchObject({ create: [0], backoffMs: undefined });
    expect(failing(3, at + 39_999)).toMatchObject({ create: [], backoffMs: 1 });
    expect(failing(10, at + 300_000)).toMatchObject({ create: [0] });
    expect(failing(13, at + 300_000)).toMatchObject({
      create: [],
      terminal: expect.stringContaining("code 137") as string,
    });
    expect(failing(13, at + 3_600_000)).toMatchObject({ create: [0], terminal: undefined });
  });
});

describe("a gang played to its end", () => {
  const spec = aGangSpec({ ranks: 3, minRanks: 1 });
  const ordinal = fc.integer({ min: 0, max: 2 });
  const fault: fc.Arbitrary<Fault> = fc.oneof(
    fc.record({ kind: fc.constantFrom("delete", "crash", "hang", "loseNode"), ordinal }),
    fc.constant<Fault>({ kind: "forget" }),
  );
  const faults = fc.array(fault, { maxLength: 4 });

  it("settles with one roster when nothing goes wrong", () => {
    const { settledAt, plans } = simulate(spec, []);
    expect(settledAt).toBeLessThan(10);
    expect(plans.filter((one) => one.roster?.changed === true)).toHaveLength(1);
    expect(plans.flatMap((one) => one.create)).toEqual([0, 1, 2]);
  });

  it("serves in full again after any few faults", () => {
    fc.assert(
      fc.property(faults, (list) => {
        expect(simulate(spec, list).settledAt).toBeDefined();
      }),
      { numRuns: 30 },
    );
  });

  it("never makes a rank whose name is taken, and never lowers a roster's generation", () => {
    fc.assert(
      fc.property(faults, (list) => {
        const { plans, observations } = simulate(
          spec,
          list.filter((one) => one.kind !== "forget"),
        );
        let generation = 0;
        plans.forEach((one, index) => {
          const taken = observations[index]?.pods.map((pod) => pod.ordinal) ?? [];
          for (const made of one.create) expect(taken).not.toContain(made);
          const next = one.roster?.generation ?? generation;
          expect(next).toBeGreaterThanOrEqual(generation);
          if (one.roster?.changed === true) expect(next).toBeGreaterThan(generation);
          generation = next;
        });
      }),
      { numRuns: 30 },
    );
  });

  it("never names a rank that is gone in a roster, and never one smaller than allowed", () => {
    fc.assert(
      fc.property(faults, (list) => {
        const { plans, observations } = simulate({ ...spec, minRanks: 2 }, list);
        plans.forEach((one, index) => {
          if (one.roster === undefined) return;
          expect(one.roster.members.length).toBeGreaterThanOrEqual(2);
          const living = observations[index]?.pods.filter((pod) => pod.deletingForMs === undefined) ?? [];
          for (const member of one.roster.members) {
            expect(living.map((pod) => pod.uid)).toContain(member.incarnation);
          }
        });
      }),
      { numRuns: 30 },
    );
  });
});
