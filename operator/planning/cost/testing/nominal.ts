/** Round rates that formulas are checked at by hand; no measurement. */
import type { Hardware } from "../hardware.ts";

export function nominalHardware(bytesPerSecond: number, over: Partial<Hardware> = {}): Hardware {
  const link = { name: "nominal", bytesPerSecond, ringBytesPerSecond: bytesPerSecond, latencySeconds: 30e-6 };
  return {
    gpu: {
      name: "nominal",
      flops: 989e12,
      gemmEfficiency: 0.55,
      attentionEfficiency: 0.45,
      weightBytesPerSecond: 2.7e12,
      scanBytesPerSecond: 2.7e12,
      memoryBytes: 80e9,
      layerSeconds: 0,
      pieceSeconds: 15e-6,
    },
    gpusPerNode: 8,
    nodeLink: link,
    networkLink: link,
    ...over,
  };
}
