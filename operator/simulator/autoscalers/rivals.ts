/** The reactive baselines, each with the settings of its knob that it is played at, sparing ones last. */
import type { CostProfile } from "../../planning/cost/profile.ts";
import type { Autoscaler } from "./autoscaler.ts";
import { horizontalPodAutoscaler, type RoleBounds } from "./hpa.ts";
import { meanBased } from "./meanBased.ts";
import { queueReactive } from "./queueReactive.ts";

export interface Rival {
  readonly name: string;
  /** Of the knob, in the order in which less is used. */
  readonly settings: readonly number[];
  readonly at: (setting: number) => Autoscaler;
}

export interface Served {
  readonly cost: CostProfile;
  readonly bounds: RoleBounds;
  readonly tbtSeconds: number;
}

/** Utilisation of the pool's memory, which is not what an HPA of busy time looks at, is a knob of its own. */
const kvTargets = [0.7, 0.9];

export function rivalsOf({ cost, bounds, tbtSeconds }: Served): readonly Rival[] {
  return [
    ...kvTargets.map((kvTarget) => ({
      name: `HPA on utilisation, KV ${Math.round(kvTarget * 100)} %`,
      settings: [0.5, 0.6, 0.7, 0.8, 0.85, 0.9],
      at: (target: number) => horizontalPodAutoscaler(bounds, target, kvTarget),
    })),
    {
      name: "queue-reactive",
      settings: [0.25, 0.5, 1, 2, 4],
      at: (promptsPerGroup) => queueReactive(bounds, promptsPerGroup),
    },
    {
      name: "mean-based SLA",
      settings: [4, 3, 2, 1.6, 1.4, 1.2],
      at: (headroom) => meanBased(cost, bounds, { tbtSeconds, headroom }),
    },
  ];
}
