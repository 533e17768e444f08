/**
 * A planner of means, as Dynamo's SLA planner reckons: of the last minute the rate, the mean input and the mean output;
 * a pod's throughput at those means from the cost model; pods = predicted load over throughput. The last interval is the
 * prediction. No length classes, no tails, no queue. `headroom` multiplies the load.
 */
import type { CostProfile } from "../../planning/cost/profile.ts";
import { prefillSeconds } from "../../planning/cost/profile.ts";
import type { Size } from "../../planning/scaling/decision.ts";
import { decodeTarget, leastDecodeRanks } from "../../planning/scaling/decodeNeed.ts";
import type { Autoscaler } from "./autoscaler.ts";
import { clamp, type RoleBounds } from "./hpa.ts";

const everySeconds = 60;

export function meanBased(
  cost: CostProfile,
  bounds: RoleBounds,
  options: { readonly tbtSeconds: number; readonly headroom: number },
): Autoscaler {
  return {
    name: `mean-based SLA, load x${Number(options.headroom.toFixed(3))}`,
    everySeconds,
    decide({ wanted, arrivedTokens, demand }): Size {
      if (arrivedTokens.length === 0)
        return { ...wanted, groups: bounds.groups.min, decodeRanks: bounds.decodeRanks.min };
      const rate = (arrivedTokens.length / everySeconds) * options.headroom;
      const meanTokens = arrivedTokens.reduce((sum, one) => sum + one, 0) / arrivedTokens.length;
      const busyRanks = rate * prefillSeconds(cost, meanTokens, 1);
      const { decode } = demand();
      const load = {
        ...decode,
        arrivalsPerSecond: rate,
        meanContextTokens: meanTokens + decode.meanOutputTokens / 2,
        liveContextTokens: 0,
      };
      const target = decodeTarget(options.tbtSeconds, 1);
      const ranks = leastDecodeRanks(cost, load, target, bounds.decodeRanks) ?? bounds.decodeRanks.max;
      return {
        ...wanted,
        groups: clamp(Math.ceil(busyRanks / wanted.groupSize), bounds.groups),
        decodeRanks: ranks,
      };
    },
  };
}
