/** The operator's own planner: `planScaling` of what was seen, with its memory and its outlook on arrivals. */
import { lookedAt, noOutlook, outlookRatio } from "../../planning/autoscaling/outlook.ts";
import type { CostProfile } from "../../planning/cost/profile.ts";
import { noMemory, type ScalingPolicy } from "../../planning/scaling/decision.ts";
import { planScaling } from "../../planning/scaling/plan.ts";
import type { Autoscaler } from "./autoscaler.ts";

const everySeconds = 30;

/** @param startupSeconds that far ahead arrivals are predicted, as the operator does with the start-up it measured. */
export function plannedAutoscaler(
  cost: CostProfile,
  policy: ScalingPolicy,
  startupSeconds: number,
): Autoscaler {
  let memory = noMemory;
  let outlook = noOutlook(0);
  return {
    name: "csps",
    everySeconds,
    decide(seen) {
      const nowMs = seen.nowSeconds * 1e3;
      const sum = (of: (tokens: number) => number) =>
        seen.arrivedTokens.reduce((total, tokens) => total + of(tokens), 0);
      const arrived = { tokens: sum((tokens) => tokens), squaredTokens: sum((tokens) => tokens ** 2) };
      outlook = lookedAt(outlook, arrived, nowMs);
      const { wanted, active } = seen;
      const groups = wanted.groups - active.groups;
      const decision = planScaling({
        nowMs,
        policy,
        cost,
        current: wanted,
        pendingPods: groups * wanted.groupSize + wanted.decodeRanks - active.decodeRanks,
        expectedPods: 1,
        samples: [{ podUid: "simulated", atMs: nowMs }],
        demand: { ...seen.demand(), forecastRatio: outlookRatio(outlook, startupSeconds) },
        memory,
      });
      memory = decision.memory;
      return decision.size;
    },
  };
}
