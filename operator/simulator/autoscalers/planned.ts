/** The operator's own planner: `planScaling` of what was seen, with its memory and its outlook on arrivals. */
import { promptTokensPerSecond } from "../../planning/autoscaling/demand.ts";
import { foresee, lookedAt, noOutlook } from "../../planning/autoscaling/outlook.ts";
import type { CostProfile } from "../../planning/cost/profile.ts";
import { noMemory, type ScalingPolicy } from "../../planning/scaling/decision.ts";
import { planScaling } from "../../planning/scaling/plan.ts";
import type { Autoscaler } from "./autoscaler.ts";

export interface Pace {
  /** Time between two decisions. */
  readonly everySeconds: number;
  /** That far ahead arrivals are predicted, as the operator does with the start-up it measured. */
  readonly startupSeconds: number;
}

export function plannedAutoscaler(
  cost: CostProfile,
  policy: ScalingPolicy,
  { everySeconds, startupSeconds: leadSeconds }: Pace,
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
      const arrived = {
        prompts: seen.arrivedTokens.length,
        tokens: sum((tokens) => tokens),
        squaredTokens: sum((tokens) => tokens ** 2),
      };
      outlook = lookedAt(outlook, arrived, nowMs);
      const demand = seen.demand();
      const tokensPerSecond = promptTokensPerSecond(demand);
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
        demand: { ...demand, ...foresee(outlook, { leadSeconds, tokensPerSecond }) },
        memory,
      });
      memory = decision.memory;
      return decision.size;
    },
  };
}
