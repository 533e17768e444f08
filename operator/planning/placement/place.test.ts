import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { anyNodes } from "../testing/arbitraries.ts";
import { aCluster, aPod, aRequest, type NodeShape, oneGpu } from "../testing/builders.ts";
import { planPlacement, type PlacementRequest } from "./place.ts";

/** Two racks of two hosts, one GPU each. */
const twoRacks: readonly NodeShape[] = [
  { name: "a1", rack: "ra", zone: "z" },
  { name: "a2", rack: "ra", zone: "z" },
  { name: "b1", rack: "rb", zone: "z" },
  { name: "b2", rack: "rb", zone: "z" },
];

function place(
  nodes: readonly NodeShape[],
  request: Partial<PlacementRequest>,
  pods = [] as ReturnType<typeof aPod>[],
) {
  const named = [request.required, request.preferred].flatMap((level) => level ?? []);
  return planPlacement(aCluster(nodes, pods, named), aRequest(request));
}

describe("planPlacement", () => {
  it("takes the smallest domain that holds the whole group", () => {
    const nodes = [...twoRacks, { name: "c1", rack: "rc", zone: "z", gpus: 2 }];
    expect(place(nodes, { ranks: 2 })).toMatchObject({
      placed: true,
      nodes: ["c1", "c1"],
      domain: "host=c1",
    });
    expect(place(nodes, { ranks: 3 })).toMatchObject({ placed: true, domain: "zone=z" });
  });

  it("takes the domain with the least left over among equals", () => {
    const nodes = [...twoRacks, { name: "a3", rack: "ra", zone: "z" }];
    expect(place(nodes, { ranks: 2 })).toMatchObject({ placed: true, domain: "rack=rb" });
  });

  it("touches as few hosts as can be and leaves roomy ones whole", () => {
    const nodes = [
      { name: "h1", rack: "r", gpus: 4 },
      { name: "h2", rack: "r", gpus: 8 },
      { name: "h3", rack: "r", gpus: 2 },
    ];
    expect(place(nodes, { ranks: 10 })).toMatchObject({
      nodes: [...Array<string>(8).fill("h2"), "h3", "h3"],
    });
  });

  it("spreads sibling groups over racks, then goes near its peers", () => {
    expect(place(twoRacks, { ranks: 1, siblings: [["a1"]] })).toMatchObject({ nodes: ["b1"] });
    expect(place(twoRacks, { ranks: 1, near: ["b2"] })).toMatchObject({ nodes: ["b2"] });
    expect(place(twoRacks, { ranks: 2, near: ["b2"] })).toMatchObject({ domain: "rack=rb" });
  });

  it("climbs past a preferred level, and says that it did", () => {
    const decision = place(twoRacks, { ranks: 3, preferred: "rack" });
    expect(decision).toMatchObject({ placed: true, domain: "zone=z" });
    expect(decision.choice).toContain("no rack had room for all");
  });

  it("refuses what no required domain holds, and counts what was in the way", () => {
    const nodes: NodeShape[] = [
      { name: "a1", rack: "r1" },
      { name: "a2", rack: "r1" },
      { name: "a3", rack: "r1", gpus: 0 },
      { name: "b1", rack: "r2", taints: [{ key: "dedicated", value: "x", effect: "NoSchedule" }] },
      { name: "b2", rack: "r2", ready: false },
      { name: "b3", rack: "r2", unschedulable: true },
      { name: "b4", rack: "r2", gpus: 0 },
    ];
    expect(place(nodes, { ranks: 4, required: "rack" })).toEqual({
      placed: false,
      reason: "NoRoom",
      choice:
        '2 of 4 ranks fit in the best rack "r1"; excluded nodes: 2 insufficient nvidia.com/gpu, 1 not ready, ' +
        "1 unschedulable, 1 untolerated taint {dedicated: x}",
      refusals: ['2 of 4 ranks fit in rack "r1"', '0 of 4 ranks fit in rack "r2"'],
    });
  });

  it("takes a label key of the user's as a level, and refuses one that no node carries", () => {
    const nodes = twoRacks.map((node) => ({ ...node, labels: { "example.com/row": node.rack ?? "" } }));
    expect(place(nodes, { ranks: 2, required: "example.com/row" })).toMatchObject({ placed: true });
    expect(place(nodes, { ranks: 2, required: "example.com/hall" })).toMatchObject({
      placed: false,
      reason: "UnknownLevel",
      choice: 'no node carries a label of the required level "example.com/hall"',
    });
  });

  it("honours tolerations and node selectors", () => {
    const taints = [{ key: "gpu", value: "yes", effect: "NoSchedule" }];
    const nodes = [
      { name: "a", taints },
      { name: "b", labels: { pool: "x" } },
    ];
    const tolerant = { ...oneGpu, tolerations: [{ key: "gpu", operator: "Exists" }] };
    const picky = { ...oneGpu, nodeSelector: { pool: "x" } };
    expect(place(nodes, { shape: tolerant })).toMatchObject({ nodes: ["a"] });
    expect(place(nodes, { shape: picky })).toMatchObject({ nodes: ["b"] });
    expect(place(nodes.slice(0, 1), { shape: picky }).choice).toContain("1 node selector mismatch");
  });

  it("puts a successor beside the living ranks, and refuses to leave a required domain", () => {
    const busy = [aPod("a1", 1), aPod("a2", 1)];
    expect(place(twoRacks, { ranks: 1, stayWith: ["a1"] }, [aPod("a1", 1)])).toMatchObject({ nodes: ["a2"] });
    expect(place(twoRacks, { ranks: 1, stayWith: ["a1"], required: "rack" }, busy)).toMatchObject({
      placed: false,
      reason: "NoRoomBesideGroup",
      choice:
        '0 of 1 ranks fit in rack "ra", where the group\'s other ranks are; ' +
        "excluded nodes: 2 insufficient nvidia.com/gpu",
    });
    expect(place(twoRacks, { ranks: 1, stayWith: ["a1"], preferred: "rack" }, busy)).toMatchObject({
      placed: true,
      nodes: ["b1"],
      domain: "zone=z",
    });
  });

  it("says that an empty cluster is empty", () => {
    expect(place([], { ranks: 1 }).choice).toBe("0 of 1 ranks fit in the cluster; the cluster has no nodes");
  });
});

describe("planPlacement on any cluster", () => {
  const clusters = anyNodes(1);
  const ranks = fc.integer({ min: 1, max: 12 });

  it("never puts more on a node than fits, and never leaves the required domain", () => {
    fc.assert(
      fc.property(clusters, ranks, (nodes, count) => {
        const decision = place(nodes, { ranks: count, required: "rack" });
        const room = new Map<string, number>();
        for (const { rack, zone, gpus, ready } of nodes) {
          const key = `${zone}/${rack}`;
          room.set(key, (room.get(key) ?? 0) + (ready ? gpus : 0));
        }
        expect(decision.placed).toBe([...room.values()].some((gpus) => gpus >= count));
        if (!decision.placed) return;
        expect(decision.nodes).toHaveLength(count);
        const used = nodes.filter((one) => decision.nodes.includes(one.name));
        expect(new Set(used.map((one) => `${one.zone}/${one.rack}`)).size).toBe(1);
        for (const one of used) {
          expect(one.ready).toBe(true);
          expect(decision.nodes.filter((name) => name === one.name).length).toBeLessThanOrEqual(one.gpus);
        }
      }),
    );
  });

  it("decides the same whatever the order in which nodes are listed", () => {
    fc.assert(
      fc.property(clusters, ranks, (nodes, count) => {
        const reversed = [...nodes].reverse();
        const forth = place(nodes, { ranks: count });
        const back = place(reversed, { ranks: count });
        expect(forth.placed).toBe(back.placed);
        expect(forth.choice).toBe(back.choice);
        if (forth.placed && back.placed) expect(forth.nodes).toEqual(back.nodes);
      }),
    );
  });
});
