import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { aCluster, aPod } from "../testing/builders.ts";
import { ancestors, domainName, sumUp } from "./tree.ts";

describe("topologyTree", () => {
  it("never lets two nodes without a rack label share a rack", () => {
    const { tree } = aCluster([
      { name: "a", zone: "z" },
      { name: "b", zone: "z" },
    ]);
    expect(tree.domains.filter((domain) => domain.levelName === "rack")).toEqual([]);
    const [a = -1, b = -1] = tree.leafOfNode;
    const shared = ancestors(tree, a).filter((index) => ancestors(tree, b).includes(index));
    expect(shared.map((index) => tree.domains[index]?.levelName)).toEqual(["zone", "cluster"]);
  });

  it("keeps racks of one name in two zones apart", () => {
    const { tree } = aCluster([
      { name: "a", zone: "z1", rack: "r1" },
      { name: "b", zone: "z2", rack: "r1" },
    ]);
    expect(tree.domains.filter((domain) => domain.levelName === "rack")).toHaveLength(2);
  });

  it("lets a clique span hosts", () => {
    const { tree } = aCluster([
      { name: "a", clique: "c", rack: "r" },
      { name: "b", clique: "c", rack: "r" },
    ]);
    const [clique] = tree.domains.filter((domain) => domain.levelName === "accelerator");
    expect(clique === undefined ? "" : domainName(clique)).toBe('accelerator "c"');
    expect(clique?.children).toHaveLength(2);
  });

  it("sums any number of nodes to the same total at the root", () => {
    const name = fc.option(fc.constantFrom("x", "y", "z"), { nil: undefined });
    const node = fc.record({ rack: name, zone: name, clique: name, gpus: fc.integer({ min: 0, max: 8 }) });
    fc.assert(
      fc.property(fc.array(node, { maxLength: 20 }), (shapes) => {
        const nodes = shapes.map(({ rack, zone, clique, gpus }, index) => ({
          name: `n${String(index)}`,
          gpus,
          ...(rack === undefined ? {} : { rack }),
          ...(zone === undefined ? {} : { zone }),
          ...(clique === undefined ? {} : { clique }),
        }));
        const { snapshot, tree } = aCluster(nodes);
        const totals = sumUp(tree, (index) => snapshot[index]?.free["nvidia.com/gpu"] ?? 0);
        expect(totals[0]).toBe(1000 * shapes.reduce((sum, { gpus }) => sum + gpus, 0));
        for (const domain of tree.domains) {
          for (const child of domain.children) expect(child).toBeGreaterThan(domain.index);
        }
      }),
    );
  });
});

describe("clusterSnapshot", () => {
  it("takes every pod on a node from what is free, whoever made it", () => {
    const { snapshot } = aCluster(
      [{ name: "a", gpus: 4 }],
      [aPod("a", 1), aPod("a", 2), aPod("elsewhere", 1)],
    );
    expect(snapshot[0]?.free).toMatchObject({ "nvidia.com/gpu": 1000, pods: 108_000 });
  });
});
