import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { aGangSpec, anEngine, anObservation, aRankPod } from "../testing/builders.ts";
import { type Fault, simulate } from "../testing/simulate.ts";
import { planDrains } from "./drain.ts";
import { planLeavers } from "./leaving.ts";
import type { EngineReport, GangObservation, RankPod } from "./observed.ts";
import { defaultGangPolicy, planGang } from "./plan.ts";
import { defaultRosterPolicy, planRoster } from "./roster.ts";

const nowMs = 1_000_000;
const marked = (cause: "ScaleIn" | "Rollout" | "NodeCordoned" | "Asked", sinceMs = nowMs - 1_000) => ({
  leaves: { cause, sinceMs, pages: 8 },
});

/** A decode pool of three that serves, rank 0 coordinating. */
function aPool(
  over: {
    pods?: readonly Partial<RankPod>[];
    engines?: readonly Partial<EngineReport>[];
    ranks?: number;
    minRanks?: number;
    bytes?: Readonly<Record<string, number>>;
  } = {},
): GangObservation {
  const { ranks = 3, minRanks = 1 } = over;
  return anObservation({
    nowMs,
    spec: aGangSpec({ role: "decode", ranks, minRanks }),
    pods: [0, 1, 2].map((ordinal) => aRankPod(ordinal, over.pods?.[ordinal])),
    engines: new Map(
      [0, 1, 2].map((ordinal) => anEngine(ordinal, { heldPages: 8, ...over.engines?.[ordinal] })),
    ),
    emptyingBytes: new Map(Object.entries(over.bytes ?? {})),
  });
}

const everyone = [0, 1, 2].map((n) => ({ rankId: `g-${String(n)}`, incarnation: `uid-${String(n)}` }));

const chosen = (observed: GangObservation, elsewhere = true): readonly string[] =>
  planLeavers(observed, () => elsewhere).map(({ pod, cause }) => `${pod.rankId} ${cause}`);

describe("who leaves a pool that is too large", () => {
  it("is the rank whose emptying moves the fewest bytes, wherever it stands", () => {
    expect(chosen(aPool({ ranks: 2, bytes: { "g-0": 9, "g-1": 3, "g-2": 5 } }))).toEqual(["g-1 ScaleIn"]);
    expect(chosen(aPool({ ranks: 1, bytes: { "g-0": 2, "g-1": 3, "g-2": 1 } }))).toEqual([
      "g-0 ScaleIn",
      "g-2 ScaleIn",
    ]);
  });

  it("is the coordinator only when its emptying is cheaper than any other's", () => {
    expect(chosen(aPool({ ranks: 2, bytes: { "g-0": 3, "g-1": 3, "g-2": 3 } }))).toEqual(["g-2 ScaleIn"]);
    expect(chosen(aPool({ ranks: 2, bytes: { "g-0": 2, "g-1": 3, "g-2": 3 } }))).toEqual(["g-0 ScaleIn"]);
  });

  it("is a rank that serves nothing, at once, before any that does", () => {
    const observed = aPool({ ranks: 2, engines: [{}, { phase: "loading", heldPages: 0 }] });
    expect(chosen(observed)).toEqual([]);
    expect(planGang(observed, defaultGangPolicy).remove).toMatchObject([
      { rankId: "g-1", reason: "BeyondSize" },
    ]);
  });

  it("stays the one that was chosen, whatever becomes cheaper, and has no successor", () => {
    const observed = aPool({ ranks: 2, pods: [{}, marked("ScaleIn")], bytes: { "g-1": 9, "g-2": 1 } });
    expect(chosen(observed)).toEqual([]);
    expect(planGang(observed, defaultGangPolicy)).toMatchObject({ create: [], remove: [] });
    const gone = { ...observed, pods: observed.pods.filter((pod) => pod.leaves === undefined) };
    expect(planGang(gone, defaultGangPolicy)).toMatchObject({ mark: [], create: [], remove: [] });
  });
});

describe("who leaves for another reason", () => {
  it("is one rank of another revision at a time, and the next when its successor is up", () => {
    const old = { revision: "r0" };
    const rolling = (second: Partial<RankPod>, engine: Partial<EngineReport> = {}) =>
      chosen(aPool({ pods: [old, second, old], engines: [{}, engine] }));
    expect(rolling(old)).toEqual(["g-2 Rollout"]);
    expect(rolling({ ...old, ...marked("Rollout") })).toEqual([]);
    expect(rolling({}, { phase: "loading" })).toEqual([]);
    expect(rolling({}, { phase: "awaitingRoster" })).toEqual(["g-2 Rollout"]);
  });

  it("is a rank on a cordoned node, when another node has room for it", () => {
    const observed = aPool({ pods: [{}, { cordoned: true }, { cordoned: true }] });
    expect(chosen(observed)).toEqual(["g-1 NodeCordoned"]);
    expect(chosen(observed, false)).toEqual([]);
    expect(chosen(aPool({ pods: [{}, { cordoned: true }, marked("NodeCordoned")] }))).toEqual([]);
  });
});

describe("a rank that leaves", () => {
  const stepOf = (over: Parameters<typeof aPool>[0], mark = marked("Asked")) => {
    const [step] = planDrains(aPool({ ...over, pods: [{}, {}, mark] }));
    return `${step?.phase ?? ""}: ${step?.message ?? ""}`;
  };

  it.each([
    ["serves", {}, "StopAdmission: it is told to take nothing new"],
    ["drains", { phase: "draining", heldPages: 3 }, "MigrateShards: 3 of 8 pages are left to move"],
    [
      "is empty",
      { phase: "draining", heldPages: 0 },
      "Confirm: it holds no page; its peers have yet to let it go",
    ],
    ["has drained", { phase: "drained", heldPages: 0 }, "Delete: it has handed over everything"],
    [
      "never joined",
      { phase: "awaitingRoster", heldPages: 0 },
      "Delete: it serves nothing: it is awaitingRoster",
    ],
  ])("and %s", (_what, engine, step) => {
    expect(stepOf({ engines: [{}, {}, engine] })).toBe(step);
  });

  it("waits until enough others take new work", () => {
    const busy = { engines: [{}, { phase: "draining", heldPages: 3 }, {}], minRanks: 2 };
    expect(stepOf(busy)).toBe("Cordon: it waits: 1 others take new work and 2 are needed");
    expect(stepOf({ ...busy, minRanks: 1 })).toMatch(/^StopAdmission/);
  });

  it("goes at its deadline, whatever it holds or whether it answers", () => {
    const late = marked("Asked", nowMs - 300_000);
    expect(stepOf({ engines: [{}, {}, { phase: "draining", heldPages: 3 }] }, late)).toBe(
      "Delete: it still holds 3 pages after 300 s; what is lost is computed again",
    );
  });

  it("stays on the roster of a decode pool while it drains, the coordinator too, and leaves it when drained", () => {
    const memory = { ...anObservation().memory, rosterGeneration: 1, rosterMembers: everyone };
    const roster = (phase: string) => {
      const pool = aPool({ engines: [{ phase }], pods: [marked("Asked")] });
      return planRoster({ ...pool, memory }, defaultRosterPolicy)?.members.map((one) => one.rankId);
    };
    expect(roster("draining")).toEqual(["g-0", "g-1", "g-2"]);
    expect(roster("drained")).toEqual(["g-1", "g-2"]);
  });

  it("is on no roster with ranks of another KV format: the format of more ranks is", () => {
    const memory = { ...anObservation().memory, rosterGeneration: 1, rosterMembers: everyone };
    const other = { kvFormat: "other", phase: "awaitingRoster" };
    const roster = (engines: readonly Partial<EngineReport>[]) =>
      planRoster({ ...aPool({ engines }), memory }, defaultRosterPolicy)?.members.map((one) => one.rankId);
    expect(roster([{}, {}, other])).toEqual(["g-0", "g-1"]);
    expect(roster([{}, other, other])).toEqual(["g-1", "g-2"]);
  });
});

describe("a decode pool played to its end", () => {
  const spec = aGangSpec({ role: "decode", ranks: 3 });
  const ordinal = fc.integer({ min: 0, max: 2 });
  const fault: fc.Arbitrary<Fault> = fc.record({
    kind: fc.constantFrom("delete", "crash", "loseNode"),
    ordinal,
  });

  it("comes to a new revision one rank after the other, each drained", () => {
    const change = { atTick: 20, spec: { ...spec, revision: "r2" } };
    const { settledAt, plans, observations } = simulate(spec, [], { change });
    expect(settledAt).toBeDefined();
    expect(observations.at(-1)?.pods.map((pod) => pod.revision)).toEqual(["r2", "r2", "r2"]);
    const removed = plans.flatMap((plan) => plan.remove);
    expect(removed.map((one) => one.reason)).toEqual(["Drained", "Drained", "Drained"]);
    for (const { engines } of observations.slice(20)) {
      const serving = [...engines.values()].filter((engine) => engine.phase === "serving");
      expect(serving.length).toBeGreaterThanOrEqual(2);
    }
  });

  it("settles at its new size and revision whatever breaks on the way", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(fault, { maxLength: 4 }), (ranks, faults) => {
        const change = { atTick: 15, spec: { ...spec, ranks, revision: "r2" } };
        const { settledAt, observations } = simulate(spec, faults, { change });
        expect(settledAt).toBeDefined();
        const last = observations.at(-1)?.pods ?? [];
        expect(last.map((pod) => pod.revision)).toEqual(Array.from({ length: ranks }, () => "r2"));
        expect(new Set(last.map((pod) => pod.ordinal)).size).toBe(ranks);
      }),
      { numRuns: 30 },
    );
  });
});
