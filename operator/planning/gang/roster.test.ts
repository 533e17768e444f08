import { describe, expect, it } from "vitest";
import { aGangSpec, anEngine, aRankPod, anObservation } from "../testing/builders.ts";
import type { EngineReport, GangObservation } from "./observed.ts";
import { defaultRosterPolicy, planRoster, type RosterPlan } from "./roster.ts";

function aServing(ordinal: number, over: Partial<EngineReport> = {}): readonly [string, EngineReport] {
  return anEngine(ordinal, { generation: 4, epoch: 2, ...over });
}

const members = [0, 1].map((ordinal) => ({
  rankId: `g-${String(ordinal)}`,
  incarnation: `uid-${String(ordinal)}`,
}));
const formed = { ...anObservation().memory, rosterGeneration: 4, rosterMembers: members };

function plan(over: Partial<GangObservation>): RosterPlan | undefined {
  const pods = [aRankPod(0), aRankPod(1)];
  return planRoster(anObservation({ pods, memory: formed, ...over }), defaultRosterPolicy);
}

const ids = (roster: RosterPlan | undefined) => roster?.members.map((member) => member.rankId);

describe("planRoster", () => {
  it("pushes nothing when every member holds the roster", () => {
    const engines = new Map([aServing(0), aServing(1)]);
    expect(plan({ engines })).toMatchObject({ generation: 4, changed: false, push: [] });
  });

  it("waits for all ranks before the first roster, and then for as long as its patience lasts", () => {
    const fresh = anObservation().memory;
    const engines = new Map([aServing(0, { generation: 0, phase: "awaitingRoster" })]);
    expect(plan({ memory: fresh, engines, answeringForMs: 119_000 })).toBeUndefined();
    expect(ids(plan({ memory: fresh, engines, answeringForMs: 120_000 }))).toEqual(["g-0"]);
  });

  it("does not take a rank that still loads", () => {
    const engines = new Map([aServing(0), aServing(1, { phase: "loading", incarnation: "uid-1" })]);
    expect(ids(plan({ engines }))).toEqual(["g-0"]);
  });

  it("keeps a member that is silent for a moment and leaves out one that is silent for long", () => {
    const engines = new Map([aServing(0)]);
    expect(plan({ engines, silentForMs: new Map([["g-1", 14_000]]) })).toMatchObject({ changed: false });
    const shrunk = plan({ engines, silentForMs: new Map([["g-1", 15_000]]) });
    expect(shrunk).toMatchObject({ generation: 5, changed: true, push: ["g-0"] });
    expect(ids(shrunk)).toEqual(["g-0"]);
  });

  it("leaves out a silent member at once when its node is lost or its pod is being deleted", () => {
    const engines = new Map([aServing(0)]);
    for (const state of [{ nodeReady: false }, { deletingForMs: 0 }, { phase: "Failed" }]) {
      const silentForMs = new Map([["g-1", 0]]);
      expect(ids(plan({ engines, silentForMs, pods: [aRankPod(0), aRankPod(1, state)] }))).toEqual(["g-0"]);
    }
  });

  it("takes a successor in when it answers, and tells both", () => {
    const engines = new Map([
      aServing(0),
      aServing(1, { incarnation: "new", generation: 0, phase: "awaitingRoster" }),
    ]);
    const grown = plan({ engines, pods: [aRankPod(0), aRankPod(1, { uid: "new" })] });
    expect(grown).toMatchObject({ generation: 5, changed: true, push: ["g-0", "g-1"] });
  });

  it("tells all members again when one lost its roster", () => {
    const engines = new Map([aServing(0), aServing(1, { generation: 3 })]);
    expect(plan({ engines })).toMatchObject({ generation: 4, changed: false, push: ["g-0", "g-1"] });
  });

  it("lets a rank that is being deleted finish what it holds, unless it coordinates", () => {
    const pods = [aRankPod(0), aRankPod(1, { deletingForMs: 0 })];
    const draining = { phase: "draining", busy: true };
    expect(ids(plan({ pods, engines: new Map([aServing(0), aServing(1, draining)]) }))).toEqual([
      "g-0",
      "g-1",
    ]);
    const idle = { ...draining, busy: false };
    expect(ids(plan({ pods, engines: new Map([aServing(0), aServing(1, idle)]) }))).toEqual(["g-0"]);
    const coordinating = { ...draining, coordinator: "g-1" };
    expect(ids(plan({ pods, engines: new Map([aServing(0), aServing(1, coordinating)]) }))).toEqual(["g-0"]);
  });

  it("outbids a roster that a fallen leader pushed and never wrote down", () => {
    const engines = new Map([aServing(0, { generation: 7 }), aServing(1)]);
    expect(plan({ engines })).toMatchObject({ generation: 8, changed: true, push: ["g-0", "g-1"] });
  });

  it("is none when fewer live than are needed", () => {
    const spec = aGangSpec({ ranks: 2, minRanks: 2 });
    expect(plan({ spec, engines: new Map([aServing(0)]), pods: [aRankPod(0)] })).toBeUndefined();
  });
});
