/**
 * When communication pays, as others published it, beside what the fitted rates of operator/planning/cost/gpus.ts give.
 *
 * Passing K and V round a ring is hidden from P C k b / (2 h W) tokens (Yang et al., 2024): 3.2K over NVLink and 28.9K
 * over 400G InfiniBand for eight H100 and an 8B model. Both follow from one reached rate C = 722 TFLOP/s and the links'
 * sheet values of 450 and 50 GB/s, latency left out, so what is checked is the quotient C / W of compute and a ring's
 * link. Fitted: C = 577 TFLOP/s, W = 358 and 36 GB/s.
 */
import type { Hardware } from "../../planning/cost/hardware.ts";
import { kvGatherHiddenFrom } from "../../planning/cost/mode.ts";
import { llama8b } from "../../planning/cost/modelShape.ts";

export interface PublishedCheck {
  readonly name: string;
  readonly published: number;
  /** The same quantity by the cost model's rates. */
  readonly fitted: number;
}

export function publishedChecks({ gpu, nodeLink, networkLink }: Hardware): readonly PublishedCheck[] {
  const flopsPerSecond = gpu.flops * gpu.attentionEfficiency;
  const hiddenFrom = (bytesPerSecond: number): number =>
    kvGatherHiddenFrom(llama8b, { ranks: 8, flopsPerSecond, bytesPerSecond });
  return [
    {
      name: "tokens from which a ring of K and V hides over NVLink",
      published: 3_200,
      fitted: hiddenFrom(nodeLink.ringBytesPerSecond),
    },
    {
      name: "tokens from which a ring of K and V hides over 400G InfiniBand",
      published: 28_900,
      fitted: hiddenFrom(networkLink.ringBytesPerSecond),
    },
  ];
}
