/** The worked values that the formulas were published with: N = 131,072, P = 8, an 8B shape, nominal rates. */
import { describe, expect, it } from "vitest";
import { kneeTokens, scanSeconds } from "./decode.ts";
import { kvGatherHiddenFrom } from "./mode.ts";
import { llama8b } from "./modelShape.ts";
import { prefillLayer } from "./prefillLayer.ts";
import type { PrefillMode, Selection } from "./selection.ts";
import { nominalHardware } from "./testing/nominal.ts";

const dense: Selection = { kind: "dense" };
const stride: Selection = {
  kind: "stride",
  levels: [
    { groupSize: 1, sparseDegree: 1 },
    { groupSize: 8, sparseDegree: 4 },
  ],
};
const blocks: Selection = { kind: "blocks", budget: 0.2, blockTokens: 32, tailTokens: 128 };

interface Row {
  readonly link: number;
  readonly mode: PrefillMode;
  readonly selection: Selection;
  /** Milliseconds of a layer: linear, attention, transfers, serial, pipelined. */
  readonly ms: readonly [number, number, number, number, number];
  readonly pieces: number | undefined;
  /** Seconds of 32 layers, serial and pipelined. */
  readonly ttft: readonly [number, number];
}

const rows: readonly Row[] = [
  {
    link: 400,
    mode: "allToAll",
    selection: dense,
    ms: [13.1, 39.5, 0.7, 53.4, 52.9],
    pieces: 7,
    ttft: [1.71, 1.69],
  },
  {
    link: 400,
    mode: "allToAll",
    selection: stride,
    ms: [13.1, 7.4, 0.2, 20.8, 20.7],
    pieces: 4,
    ttft: [0.66, 0.66],
  },
  {
    link: 400,
    mode: "kvGather",
    selection: blocks,
    ms: [13.1, 12.2, 0.3, 25.7, 25.6],
    pieces: 4,
    ttft: [0.82, 0.82],
  },
  {
    link: 45,
    mode: "allToAll",
    selection: dense,
    ms: [13.1, 39.5, 6.6, 59.3, 53.4],
    pieces: 21,
    ttft: [1.9, 1.71],
  },
  {
    link: 45,
    mode: "kvGather",
    selection: blocks,
    ms: [13.1, 12.2, 2.6, 28.0, 25.8],
    pieces: 13,
    ttft: [0.9, 0.83],
  },
  {
    link: 45,
    mode: "tensor",
    selection: dense,
    ms: [13.1, 39.5, 83.5, 136, 99.8],
    pieces: 26,
    ttft: [4.36, 3.19],
  },
  {
    link: 11,
    mode: "allToAll",
    selection: dense,
    ms: [13.1, 39.5, 26.9, 79.6, 54.0],
    pieces: 42,
    ttft: [2.55, 1.73],
  },
  {
    link: 11,
    mode: "allToAll",
    selection: stride,
    ms: [13.1, 7.4, 6.7, 27.3, 21.4],
    pieces: 11,
    ttft: [0.88, 0.69],
  },
  // The source names 24 pieces here, which take as long as the 27 found, to the digits it gives.
  {
    link: 11,
    mode: "kvGather",
    selection: blocks,
    ms: [13.1, 12.2, 10.6, 36.1, 26.3],
    pieces: undefined,
    ttft: [1.16, 0.84],
  },
];

describe("prefillLayer at the published worked values", () => {
  it.each(rows)(
    "gives them at $link GB/s, $mode, $selection.kind",
    ({ link, mode, selection, ms, pieces, ttft }) => {
      const hardware = nominalHardware(link * 1e9);
      const cost = prefillLayer(
        llama8b,
        hardware,
        { tokens: 131_072, degree: 8, tensorDegree: 1, mode, selection },
        0,
      );
      const transfer = (cost.bytesIn + cost.bytesOut) / (link * 1e9);
      const found = [cost.linearSeconds, cost.attentionSeconds, transfer, cost.serialSeconds, cost.seconds];
      for (const [index, published] of ms.entries()) {
        // Digits as printed, and one unit of the last for tables rounded from rounded inputs.
        expect(Math.abs((found[index] ?? Number.NaN) * 1e3 - published)).toBeLessThan(
          published >= 100 ? 0.6 : 0.101,
        );
      }
      if (pieces !== undefined) expect(cost.pieces).toBe(pieces);
      expect(Math.abs(cost.serialSeconds * 32 - ttft[0])).toBeLessThan(0.006);
      expect(Math.abs(cost.seconds * 32 - ttft[1])).toBeLessThan(0.006);
    },
  );
});

describe("published patterns of when communication pays", () => {
  it("scans 128K tokens of one layer in 200 microseconds, and an eighth of it in 25", () => {
    const rate = 2.7e12;
    expect(scanSeconds(llama8b, 131_072, rate) * 1e6).toBeCloseTo(199, 0);
    expect(scanSeconds(llama8b, 131_072 / 8, rate) * 1e6).toBeCloseTo(25, 0);
  });

  it("finds the context from which eight ranks decode faster than one near 18K tokens", () => {
    expect(kneeTokens(llama8b, { ranks: 8, latencySeconds: 12e-6, scanBytesPerSecond: 2.7e12 })).toBeCloseTo(
      18_080,
      -2,
    );
  });

  it("hides gathered K and V from 3.2K tokens over NVLink and 28.9K over 400G InfiniBand", () => {
    const reached = 722e12;
    const over = (bytesPerSecond: number) =>
      kvGatherHiddenFrom(llama8b, { ranks: 8, flopsPerSecond: reached, bytesPerSecond });
    expect(over(450e9)).toBeGreaterThan(3.1e3);
    expect(over(450e9)).toBeLessThan(3.3e3);
    expect(over(50e9)).toBeGreaterThan(28.5e3);
    expect(over(50e9)).toBeLessThan(29.3e3);
  });
});
