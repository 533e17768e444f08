import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sameAsJson } from "../status/records.ts";
import { anyNodes } from "../testing/arbitraries.ts";
import { aCluster, aRequest } from "../testing/builders.ts";
import { planPlacement, type PlacementRequest } from "./place.ts";
import { type PlacementRecord, placementRecord, replayPlacement } from "./record.ts";

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
      fc.property(anyNodes(0), requests, (shapes, over) => {
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
