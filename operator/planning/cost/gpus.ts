/**
 * Rates fitted from operator tables of vLLM 0.24.0 (ai-dynamo/aiconfigurator, Apache-2.0) and, between nodes, from
 * send_recv times of H100 (microsoft/vidur, MIT), by operator/simulator/calibrate/hardware.ts. Median relative error on
 * rows that were not fitted: products 4-5 %, attention 5-6 %, scan 8-10 % (p90 43-50 %: small batches), exchange in a
 * node 9-11 %, between neighbours 2 %. Attention tables end at 16,384 tokens; beyond, the square is extrapolated. No
 * table has two neighbouring H200; their links are those of H100. Published checks: calibrate/published.ts.
 * `layerSeconds` is the intercept of four products and one attention; `pieceSeconds` is assumed, not measured.
 */
import type { GpuProfile, Hardware, LinkProfile } from "./hardware.ts";

const h100: GpuProfile = {
  name: "H100 SXM 80GB",
  flops: 989e12,
  gemmEfficiency: 797.7 / 989,
  attentionEfficiency: 576.8 / 989,
  weightBytesPerSecond: 2.939e12,
  scanBytesPerSecond: 3.077e12,
  memoryBytes: 80e9,
  layerSeconds: 45e-6,
  pieceSeconds: 15e-6,
};

const h200: GpuProfile = {
  name: "H200 SXM 141GB",
  flops: 989e12,
  gemmEfficiency: 786.7 / 989,
  attentionEfficiency: 569.8 / 989,
  weightBytesPerSecond: 4.051e12,
  scanBytesPerSecond: 4.267e12,
  memoryBytes: 141e9,
  layerSeconds: 40e-6,
  pieceSeconds: 15e-6,
};

const network: LinkProfile = {
  name: "InfiniBand",
  bytesPerSecond: 36e9,
  ringBytesPerSecond: 36e9,
  latencySeconds: 19e-6,
};

const neighboursInNode = 358e9;

export const h100Nodes: Hardware = {
  gpu: h100,
  gpusPerNode: 8,
  nodeLink: {
    name: "NVLink",
    bytesPerSecond: 285e9,
    ringBytesPerSecond: neighboursInNode,
    latencySeconds: 11e-6,
  },
  networkLink: network,
};

export const h200Nodes: Hardware = {
  gpu: h200,
  gpusPerNode: 8,
  nodeLink: {
    name: "NVLink",
    bytesPerSecond: 286e9,
    ringBytesPerSecond: neighboursInNode,
    latencySeconds: 11e-6,
  },
  networkLink: network,
};
