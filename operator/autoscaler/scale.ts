/** A decision as the counts in force and the degree table. */
import type { Scale } from "../../crds/schema/autoscaling.ts";
import type { ScalingDecision } from "../planning/scaling/decision.ts";

/** A decision that holds says nothing of degrees: those in force stay. */
export function scaleOf({ size, degrees, input }: ScalingDecision, before: Scale | undefined): Scale {
  const table = input.policy.classes.flatMap(({ name, upToTokens }) => {
    const degree = degrees[name];
    return degree === undefined || degree < 1 ? [] : [{ name, upToTokens, degree }];
  });
  const kept = table.length > 0 ? table : before?.degrees;
  return {
    groups: size.groups,
    degree: size.groupSize,
    decodeRanks: size.decodeRanks,
    ...(kept === undefined ? {} : { degrees: kept }),
  };
}
