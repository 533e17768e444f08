/**
 * Time and bytes of one layer of prefill on one GPU of an SP group of P ranks of T GPUs each. n = N/P tokens a rank:
 *
 *   linear     2 n (weights of a layer) / T                         / (F gemm)
 *   attention  2 h e N^2 / P / T, thinned by the selection           / (F attention)
 *   transfer   what the mode moves in and out                        / W
 *   tensor     4 (1 - 1/T) n d b, inside the node, not overlapped    / W node
 *
 * h and k are the heads of one GPU, so that tensor parallelism inside a rank divides them.
 */
import type { Hardware, LinkProfile } from "./hardware.ts";
import { slowestLink } from "./hardware.ts";
import { layerParameters, type ModelShape } from "./modelShape.ts";
import { choosePieces, serialSeconds } from "./pipeline.ts";
import { scoringStride, zigZagShare, type PrefillMode, type Selection } from "./selection.ts";

export interface PrefillShape {
  readonly tokens: number;
  /** Ranks that the prompt is spread over. */
  readonly degree: number;
  /** GPUs of one rank. */
  readonly tensorDegree: number;
  readonly mode: PrefillMode;
  readonly selection: Selection;
}

export interface LayerCost {
  readonly linearSeconds: number;
  readonly attentionSeconds: number;
  /** Bytes that one GPU receives before attention, and sends back after it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Phases one after the other. */
  readonly serialSeconds: number;
  /** Phases overlapped as far as it pays. */
  readonly seconds: number;
  readonly pieces: number;
}

const maxPieces = 64;
const minPieceTokens = 128;

/** @param minimumGain share of the attention phase that overlap must save; below it the layer runs serially. */
export function prefillLayer(
  model: ModelShape,
  hardware: Hardware,
  shape: PrefillShape,
  minimumGain = 0.02,
): LayerCost {
  const { gpu } = hardware;
  const link = slowestLink(hardware, shape.degree * shape.tensorDegree);
  const linear = linearFlops(model, shape) / (gpu.flops * gpu.gemmEfficiency);
  const attention = attentionFlops(model, shape) / (gpu.flops * gpu.attentionEfficiency);
  const { bytesIn, bytesOut } = transferBytes(model, shape);
  const phases = {
    transferSeconds: (bytesIn + bytesOut) / link.bytesPerSecond,
    computeSeconds: attention,
    latencySeconds: shape.degree === 1 ? 0 : link.latencySeconds,
    pieceSeconds: gpu.pieceSeconds,
  };
  const pieceLimit = Math.max(
    1,
    Math.min(maxPieces, Math.floor(shape.tokens / shape.degree / minPieceTokens)),
  );
  const choice = choosePieces(phases, { maxPieces: pieceLimit, minimumGain });
  const unsplit = gpu.layerSeconds + tensorSeconds(model, hardware.nodeLink, shape);
  return {
    linearSeconds: linear,
    attentionSeconds: attention,
    bytesIn,
    bytesOut,
    serialSeconds: linear + serialSeconds(phases) + unsplit,
    seconds: linear + choice.seconds + unsplit,
    pieces: choice.pieces,
  };
}

export function linearFlops(model: ModelShape, shape: PrefillShape): number {
  return (2 * (shape.tokens / shape.degree) * layerParameters(model)) / shape.tensorDegree;
}

/** Causal: half of all pairs, two products of two FLOP each. */
export function attentionFlops(model: ModelShape, shape: PrefillShape): number {
  const width = (2 * model.queryHeads * model.headDim) / shape.tensorDegree;
  const local = shape.tokens / shape.degree;
  const dense = width * shape.tokens * local;
  const { selection } = shape;
  switch (selection.kind) {
    case "dense":
      return dense;
    case "stride": {
      const pairs = selection.levels.map((level) => level.groupSize * (local / level.sparseDegree) ** 2);
      return width * pairs.reduce((sum, one) => sum + one, 0);
    }
    case "blocks": {
      const own = width * local ** 2;
      const scoring = (2 * width * local * (shape.tokens / selection.blockTokens)) / scoringStride;
      const tail = 2 * width * selection.tailTokens * local;
      return own + selection.budget * (dense - own) + scoring + tail;
    }
  }
}

export function transferBytes(
  model: ModelShape,
  shape: PrefillShape,
): { readonly bytesIn: number; readonly bytesOut: number } {
  const { degree, tensorDegree, selection } = shape;
  if (degree === 1) return { bytesIn: 0, bytesOut: 0 };
  const local = shape.tokens / degree;
  const heads = model.queryHeads / tensorDegree;
  const kvHeads = Math.max(model.keyValueHeads / tensorDegree, 1);
  const row = model.headDim * model.bytesPerElement;
  const gathered = 2 * kvHeads * row * local * (degree - 1);
  if (shape.mode === "tensor") {
    const bytes = 2 * (1 - 1 / degree) * shape.tokens * model.hidden * model.bytesPerElement;
    return { bytesIn: bytes, bytesOut: bytes };
  }
  if (selection.kind === "blocks") {
    // Chosen blocks, their one-byte bounds of all ranks, and out and back the exact tail.
    const bounds = 2 * (shape.tokens / selection.blockTokens) * kvHeads * model.headDim;
    const tail = 2 * (degree - 1) * selection.tailTokens * heads * (row + 2);
    return { bytesIn: selection.budget * gathered + bounds, bytesOut: tail };
  }
  if (shape.mode === "kvGather") {
    const share =
      selection.kind === "dense" ? 1 : 1 / Math.max(...selection.levels.map((one) => one.sparseDegree));
    return { bytesIn: zigZagShare * share * gathered, bytesOut: 0 };
  }
  const levels = selection.kind === "dense" ? [{ groupSize: degree, sparseDegree: 1 }] : selection.levels;
  const replicated = Math.max(kvHeads, degree);
  let bytesIn = 0;
  let bytesOut = 0;
  for (const { groupSize, sparseDegree } of levels) {
    const travelling = (local * (1 - 1 / groupSize)) / sparseDegree;
    bytesIn += travelling * (heads + 2 * replicated) * row;
    // Each row of output travels with the fp32 mass that it is merged by.
    bytesOut += travelling * heads * (row + 4);
  }
  return { bytesIn, bytesOut };
}

function tensorSeconds(model: ModelShape, link: LinkProfile, shape: PrefillShape): number {
  if (shape.tensorDegree === 1) return 0;
  const local = shape.tokens / shape.degree;
  const bytes = 4 * (1 - 1 / shape.tensorDegree) * local * model.hidden * model.bytesPerElement;
  return bytes / link.bytesPerSecond + 4 * link.latencySeconds;
}
