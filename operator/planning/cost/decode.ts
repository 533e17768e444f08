/**
 * One decode step of a pool of P ranks over which every request's KV is spread:
 *
 *   dense     max( weights / stream rate ,  2 weights B_r / (F gemm) )      B_r requests homed on the fullest rank
 *   scan      KV bytes on the fullest rank / scan rate
 *   move      q out (hidden behind the local scan), partial results back    only when P > 1
 *   step      layers (dense + max(local scan, q out) + remote scan + results back) + output head
 */
import { slowestLink, type Hardware } from "./hardware.ts";
import { layerKvBytes, layerParameters, type ModelShape } from "./modelShape.ts";

export interface DecodeLoad {
  readonly ranks: number;
  /** GPUs of one rank. */
  readonly tensorDegree: number;
  readonly requests: number;
  /** Tokens in the KV of all requests together. */
  readonly contextTokens: number;
  /** KV on the fullest rank over the mean; 1 when balanced. */
  readonly imbalance?: number;
}

export interface DecodeStep {
  readonly denseSeconds: number;
  readonly scanSeconds: number;
  /** What moving q and partial results adds to a layer after overlap. */
  readonly exposedSeconds: number;
  readonly seconds: number;
}

/** Time to read the KV of so many tokens in one layer. */
export function scanSeconds(model: ModelShape, tokens: number, bytesPerSecond: number): number {
  return (tokens * layerKvBytes(model)) / bytesPerSecond;
}

export function decodeStep(model: ModelShape, hardware: Hardware, load: DecodeLoad): DecodeStep {
  const { gpu } = hardware;
  const { ranks, tensorDegree } = load;
  const homed = load.requests / ranks;
  const weights = layerParameters(model) / tensorDegree;
  const dense =
    gpu.layerSeconds +
    Math.max(
      (weights * model.bytesPerElement) / gpu.weightBytesPerSecond,
      (2 * weights * homed) / (gpu.flops * gpu.gemmEfficiency),
    ) +
    tensorReduceSeconds(model, hardware, homed, tensorDegree);
  const fullest = (load.contextTokens / ranks) * (load.imbalance ?? 1);
  const scan = scanSeconds(model, fullest, gpu.scanBytesPerSecond * tensorDegree);
  const local = scan / ranks;
  const { out, back } = moveSeconds(model, hardware, { ranks, tensorDegree, homed });
  const attention = Math.max(local, out) + (scan - local) + back;
  const head =
    (model.vocabulary * model.hidden * model.bytesPerElement) / tensorDegree / gpu.weightBytesPerSecond;
  return {
    denseSeconds: dense,
    scanSeconds: scan,
    exposedSeconds: attention - scan,
    seconds: model.layers * (dense + attention) + head,
  };
}

/** q of each homed request to all other ranks, and from each a partial output with its fp32 mass. */
function moveSeconds(
  model: ModelShape,
  hardware: Hardware,
  at: { readonly ranks: number; readonly tensorDegree: number; readonly homed: number },
): { readonly out: number; readonly back: number } {
  if (at.ranks === 1) return { out: 0, back: 0 };
  const link = slowestLink(hardware, at.ranks * at.tensorDegree);
  const rows = (at.homed * (at.ranks - 1) * model.queryHeads) / at.tensorDegree;
  const row = model.headDim * model.bytesPerElement;
  return {
    out: link.latencySeconds + (rows * row) / link.bytesPerSecond,
    back: link.latencySeconds + (rows * (row + 4)) / link.bytesPerSecond,
  };
}

function tensorReduceSeconds(
  model: ModelShape,
  hardware: Hardware,
  homed: number,
  tensorDegree: number,
): number {
  if (tensorDegree === 1) return 0;
  const bytes = 4 * (1 - 1 / tensorDegree) * homed * model.hidden * model.bytesPerElement;
  return bytes / hardware.nodeLink.bytesPerSecond + 2 * hardware.nodeLink.latencySeconds;
}

/** Context tokens from which P ranks scan faster than one, latency of two moves included. */
export function kneeTokens(
  model: ModelShape,
  pool: { readonly ranks: number; readonly latencySeconds: number; readonly scanBytesPerSecond: number },
): number {
  const saved = layerKvBytes(model) * (1 - 1 / pool.ranks);
  return (2 * pool.latencySeconds * pool.scanBytesPerSecond) / saved;
}
