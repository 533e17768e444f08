import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sameAsJson } from "../status/records.ts";
import { aCluster, aRequest } from "../testing/builders.ts";
import { planPlacement, type PlacementRequest } from "./place.ts";
import { type PlacementRecord, placementRecord, replayPlacement } from "./record.ts";

const node = fc.record({
  rack: fc.constantFrom("r1", "r2", "r3"),
  zone: fc.constantFrom("z1", "z2"),
  gpus: fc.integer({ min: 0, max: 8 }),
  ready: fc.boolean(),
});
const nodes = fc
  .array(node, { maxLength: 12 })
  .map((shapes) => shapes.map((shape, index) => ({ ...shape, name: `n${String(index).padStart(2, "0")}` })));
const requests = fc.record({
  ranks: fc.integer({ min: 1, max: 12 }),
  required: fc.constantFrom(undefined, "rack", "example.com/hall"),
  preferred: fc.constantFrom(undefined, "host", "rack"),
  near: fc.constantFrom([], ["n01"]),
  siblings: fc.constantFrom([], [["n00"]]),
});

function recorded(shapes: Parameters<typeof aCluster>[0], over: Partial<PlacementRequest>): PlacementRecord {
  const request = aRequest(over);
  const named = [request.required, request.preferred].flatMap((level) => level ?? []);
  const cluster = aCluster(shapes, [], named);
  const busy = {
    ...cluster,
    snapshot: cluster.snapshot.map((one) => ({
      ...one,
      labels: { ...one.labels, "example.com/owner": "others" },
      free: { ...one.free, "example.com/fpga": 8_000 },
    })),
  };
  return placementRecord(busy, request, planPlacement(busy, request));
}

describe("a placement on record", () => {
  it("is made again the same, from what went through JSON", () => {
    fc.assert(
      fc.property(nodes, requests, (shapes, over) => {
        const made = recorded(shapes, over);
        const read = JSON.parse(JSON.stringify(made)) as PlacementRecord;
        expect(sameAsJson(replayPlacement(read), made.decision)).toBe(true);
      }),
    );
  });

  it("tells of nodes what the request looks at, and no more", () => {
    const { snapshot } = recorded([{ name: "n", rack: "r", zone: "z" }], { ranks: 1 });
    expect(JSON.stringify(snapshot)).not.toMatch(/owner|fpga/);
    expect(JSON.stringify(snapshot)).toMatch(/csps.io\/rack.*nvidia.com\/gpu/);
  });
});
