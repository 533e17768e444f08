/** What fits: the smallest degree whose GPUs hold a prompt, and the KV that a decode rank has room for. */
import { kvBytesPerToken, weightBytes, type ModelShape } from "./modelShape.ts";
import type { CostProfile } from "./profile.ts";

/** Share of a GPU's memory that is planned with; the rest is the allocator's and the driver's. */
const usableShare = 0.9;

/** Residual stream twice, q, k, v and one feed-forward row, of one token on one GPU. */
function activationBytesPerToken(model: ModelShape, tensorDegree: number): number {
  const split = model.feedForward + (model.queryHeads + 2 * model.keyValueHeads) * model.headDim;
  return (2 * model.hidden + split / tensorDegree) * model.bytesPerElement;
}

function freeBytes(profile: CostProfile): number {
  return profile.hardware.gpu.memoryBytes * usableShare - weightBytes(profile.model) / profile.tensorDegree;
}

/** Ranks below which a prompt's KV and activations do not fit; undefined when the weights alone don't. */
export function minimumDegree(profile: CostProfile, tokens: number): number | undefined {
  const free = freeBytes(profile);
  if (free <= 0) return undefined;
  const { model, tensorDegree } = profile;
  const perToken = kvBytesPerToken(model) / tensorDegree + activationBytesPerToken(model, tensorDegree);
  return Math.max(1, Math.ceil((tokens * perToken) / free));
}

/** Tokens of KV that one decode rank of `tensorDegree` GPUs holds; 0 when the weights do not fit. */
export function kvTokensOfRank(profile: CostProfile): number {
  const free = Math.max(0, freeBytes(profile)) * profile.tensorDegree;
  return Math.floor(free / kvBytesPerToken(profile.model));
}
