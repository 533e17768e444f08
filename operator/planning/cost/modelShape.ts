/** What of a model decides its cost: the widths of its layers. Llama-family decoders with grouped-query attention. */
export interface ModelShape {
  readonly name: string;
  readonly layers: number;
  /** Width of the residual stream. */
  readonly hidden: number;
  readonly queryHeads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly feedForward: number;
  /** Matrices of one feed-forward block: 2 plain, 3 gated. */
  readonly feedForwardMatrices: 2 | 3;
  readonly vocabulary: number;
  /** Bytes of one weight, activation or KV element. */
  readonly bytesPerElement: number;
}

/** The widths of Llama 3.1 8B in bf16. */
export const llama8b: ModelShape = {
  name: "llama-8b",
  layers: 32,
  hidden: 4096,
  queryHeads: 32,
  keyValueHeads: 8,
  headDim: 128,
  feedForward: 14336,
  feedForwardMatrices: 3,
  vocabulary: 128_256,
  bytesPerElement: 2,
};

/** The widths of Llama 3.1 70B in bf16. */
export const llama70b: ModelShape = {
  name: "llama-70b",
  layers: 80,
  hidden: 8192,
  queryHeads: 64,
  keyValueHeads: 8,
  headDim: 128,
  feedForward: 28672,
  feedForwardMatrices: 3,
  vocabulary: 128_256,
  bytesPerElement: 2,
};

/** Weights of the matrices of one layer: query and output, key and value, feed-forward. */
export function layerParameters(model: ModelShape): number {
  const attention = 2 * model.hidden * model.headDim * (model.queryHeads + model.keyValueHeads);
  return attention + model.feedForwardMatrices * model.hidden * model.feedForward;
}

/** Bytes of all weights: layers, embedding and output head. */
export function weightBytes(model: ModelShape): number {
  const parameters = model.layers * layerParameters(model) + 2 * model.vocabulary * model.hidden;
  return parameters * model.bytesPerElement;
}

/** Bytes of K and V of one token in one layer, all KV heads. */
export function layerKvBytes(model: ModelShape): number {
  return 2 * model.keyValueHeads * model.headDim * model.bytesPerElement;
}

/** Bytes of K and V of one token in all layers. */
export function kvBytesPerToken(model: ModelShape): number {
  return model.layers * layerKvBytes(model);
}
