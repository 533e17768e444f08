import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { podRequest } from "./podRequest.ts";
import { parseQuantityMilli } from "./quantity.ts";

describe("parseQuantityMilli", () => {
  it.each([
    ["0", 0],
    ["1", 1000],
    ["500m", 500],
    ["1.5", 1500],
    [".5", 500],
    ["0.1", 100],
    ["2Gi", 2 * 2 ** 30 * 1000],
    ["1k", 1_000_000],
    ["1e3", 1_000_000],
    ["12E", 12e18 * 1000],
    ["100n", 1],
    [4, 4000],
  ])("reads %s as %d thousandths", (text, milli) => {
    expect(parseQuantityMilli(text)).toBe(milli);
  });

  it.each(["", "x", "1 Gi", "1GiB", "--1", "1e"])("refuses %j", (text) => {
    expect(parseQuantityMilli(text)).toBeUndefined();
  });

  it("keeps whole thousandths exact", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000_000 }), (milli) => {
        expect(parseQuantityMilli(`${String(milli)}m`)).toBe(milli);
        expect(parseQuantityMilli((milli / 1000).toFixed(3))).toBe(milli);
      }),
    );
  });
});

describe("podRequest", () => {
  const gpu = (count: number) => ({ resources: { limits: { "nvidia.com/gpu": count } } });

  it("adds containers, takes the greatest init container, and adds the overhead", () => {
    const spec = {
      containers: [gpu(1), { resources: { requests: { cpu: "500m" }, limits: { cpu: "2" } } }],
      initContainers: [gpu(3), { resources: { requests: { cpu: "100m" } } }],
      overhead: { cpu: "250m" },
    };
    expect(podRequest(spec)).toEqual({ "nvidia.com/gpu": 3000, cpu: 750, pods: 1000 });
  });

  it("counts a restartable init container as running, and beside the init containers after it", () => {
    const sidecar = { restartPolicy: "Always", resources: { requests: { cpu: "1" } } };
    const init = { resources: { requests: { cpu: "2" } } };
    const main = { resources: { requests: { cpu: "1500m" } } };
    expect(podRequest({ containers: [main], initContainers: [sidecar, init] })["cpu"]).toBe(3000);
    expect(podRequest({ containers: [main], initContainers: [init, sidecar] })["cpu"]).toBe(2500);
  });
});
