import { describe, expect, it } from "vitest";
import type { PlacementDecision } from "../placement/place.ts";
import { aGangSpec, aRankPod, anObservation } from "../testing/builders.ts";
import { defaultGangPolicy, planGang } from "./plan.ts";
import { planRelocation } from "./relocate.ts";

const gated = aRankPod(1, { gated: true, bound: false, phase: "Pending", node: undefined });
const noRoom: PlacementDecision = { placed: false, reason: "NoRoomBesideGroup", choice: "", refusals: [] };
const room: PlacementDecision = {
  placed: true,
  nodes: ["x", "y"],
  domain: "rack=r",
  choice: "",
  refusals: [],
};

function relocated(
  minRanks: number,
  beside: PlacementDecision,
  anywhere: PlacementDecision,
): readonly string[] {
  const observed = anObservation({ spec: aGangSpec({ minRanks }), pods: [aRankPod(0), gated] });
  const plan = planGang(observed, defaultGangPolicy);
  const removals = planRelocation({ observed, plan, placement: beside, placeAll: () => anywhere });
  return removals.map((removal) => `${removal.rankId} ${removal.reason}`);
}

describe("planRelocation", () => {
  it("gives up ranks that can neither serve nor be joined when the whole gang fits elsewhere", () => {
    expect(relocated(2, noRoom, room)).toEqual(["g-0 Stranded"]);
  });

  it.each([
    ["enough ranks serve", 1, noRoom, room],
    ["there is room beside them", 2, room, room],
    ["the gang fits nowhere else", 2, noRoom, noRoom],
  ])("stays when %s", (_, minRanks, beside, anywhere) => {
    expect(relocated(minRanks, beside, anywhere)).toEqual([]);
  });
});
