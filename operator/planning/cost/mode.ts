/** Which of the two exchanges moves fewer bytes, and from which length a gather hides behind attention. */
import type { ModelShape } from "./modelShape.ts";
import { transferBytes, type PrefillShape } from "./prefillLayer.ts";
import type { PrefillMode, Selection } from "./selection.ts";

const dense: Selection = { kind: "dense" };

/** All-to-all needs heads that divide by the degree; a gather does not. Fewer bytes win. */
export function cheaperMode(model: ModelShape, degree: number, tensorDegree: number): PrefillMode {
  const heads = model.queryHeads / tensorDegree;
  if (heads % degree !== 0) return "kvGather";
  const bytes = (mode: PrefillMode): number => {
    const shape: PrefillShape = { tokens: degree, degree, tensorDegree, mode, selection: dense };
    const { bytesIn, bytesOut } = transferBytes(model, shape);
    return bytesIn + bytesOut;
  };
  return bytes("kvGather") < bytes("allToAll") ? "kvGather" : "allToAll";
}

/**
 * Tokens from which passing K and V round a ring hides behind full attention: N >= P C k b / (2 h W), with C the
 * FLOP/s that attention reaches (Yang et al., Context Parallelism for Scalable Million-Token Inference, 2024).
 */
export function kvGatherHiddenFrom(
  model: ModelShape,
  ring: { readonly ranks: number; readonly flopsPerSecond: number; readonly bytesPerSecond: number },
): number {
  const kvBytes = model.keyValueHeads * model.bytesPerElement;
  return (ring.ranks * ring.flopsPerSecond * kvBytes) / (2 * model.queryHeads * ring.bytesPerSecond);
}
