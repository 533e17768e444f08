import { describe, expect, it } from "vitest";
import { h100Nodes } from "../../planning/cost/gpus.ts";
import { publishedChecks } from "./published.ts";

describe("publishedChecks", () => {
  it.each(publishedChecks(h100Nodes))(
    "gives $name within a fifth by fitted rates",
    ({ published, fitted }) => {
      expect(fitted / published).toBeGreaterThan(0.8);
      expect(fitted / published).toBeLessThan(1.2);
    },
  );

  it("tells a ring by the rate between neighbours, not by that of an exchange among all", () => {
    const [nvlink] = publishedChecks({
      ...h100Nodes,
      nodeLink: { ...h100Nodes.nodeLink, ringBytesPerSecond: h100Nodes.nodeLink.bytesPerSecond },
    });
    const [ring] = publishedChecks(h100Nodes);
    expect((nvlink?.fitted ?? 0) / (ring?.fitted ?? Infinity)).toBeCloseTo(358 / 285, 2);
  });
});
