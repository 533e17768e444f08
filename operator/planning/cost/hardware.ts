/** What of a GPU and its links decides cost. Rates are what a program reaches; only `flops` is the sheet's peak. */
export interface GpuProfile {
  readonly name: string;
  /** Peak of the matrix units at the model's number format, FLOP/s. */
  readonly flops: number;
  /** Share of the peak that large matrix products reach. */
  readonly gemmEfficiency: number;
  /** Share of the peak that causal prefill attention reaches. */
  readonly attentionEfficiency: number;
  /** Bytes per second at which weights stream from memory in small-batch products. */
  readonly weightBytesPerSecond: number;
  /** Bytes per second at which decode attention scans KV. */
  readonly scanBytesPerSecond: number;
  readonly memoryBytes: number;
  /** Time of one layer that no amount of splitting removes: launches, norms, small kernels. */
  readonly layerSeconds: number;
  /** Extra time of each further piece that a layer's attention is cut into. */
  readonly pieceSeconds: number;
}

export interface LinkProfile {
  readonly name: string;
  /** Bytes per second that one GPU sends to all others at once while it receives as much. */
  readonly bytesPerSecond: number;
  /** Bytes per second to one neighbour, as in a ring: no other pair contends for the way there. */
  readonly ringBytesPerSecond: number;
  /** Time of an empty collective. */
  readonly latencySeconds: number;
}

/** One accelerator type in its cluster: GPUs of a node share the fast link, nodes the slow one. */
export interface Hardware {
  readonly gpu: GpuProfile;
  readonly gpusPerNode: number;
  readonly nodeLink: LinkProfile;
  readonly networkLink: LinkProfile;
}

/** The slowest link inside a group of so many GPUs, which sets the group's pace. */
export function slowestLink(hardware: Hardware, gpus: number): LinkProfile {
  return gpus <= hardware.gpusPerNode ? hardware.nodeLink : hardware.networkLink;
}
