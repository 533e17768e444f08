/** A decision as the counts in force and the degree table. */
import type { Scale } from "../../crds/schema/autoscaling.ts";
import type { ScalingDecision } from "../planning/scaling/decision.ts";

/** A decision that holds says nothing of degrees: those in force stay. */
export function scaleOf(decision: ScalingDecision, before: Scale | undefined): Scale {
  const { size, degrees, input, sparseAboveTokens = Infinity } = decision;
  const { classes, sparse } = input.policy;
  const table = classes.flatMap(({ name, upToTokens }) => {
    const degree = degrees[name];
    if (degree === undefined || degree < 1) return [];
    const attention = upToTokens > sparseAboveTokens ? ("auto" as const) : ("dense" as const);
    return [{ name, upToTokens, degree, ...(sparse !== undefined && { attention }) }];
  });
  const kept = table.length > 0 ? table : before?.degrees;
  return {
    groups: size.groups,
    degree: size.groupSize,
    decodeRanks: size.decodeRanks,
    ...(kept === undefined ? {} : { degrees: kept }),
  };
}
