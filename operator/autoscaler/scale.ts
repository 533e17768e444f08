/** A decision as the counts in force and the degree table. */
import type { Scale } from "../../crds/schema/autoscaling.ts";
import type { ScalingDecision } from "../planning/scaling/decision.ts";
import { denseUpTo } from "../planning/scaling/sparsity.ts";

type Entry = NonNullable<Scale["degrees"]>[number];

/**
 * What a decision says nothing of stays: the degree of a class that nobody asks for, and all of them where it holds. Where
 * attention is a knob every class has its entry from the first decision on, as a prompt without one would be thinned.
 */
export function scaleOf(decision: ScalingDecision, before: Scale | undefined): Scale {
  const { size, degrees, input, memory } = decision;
  const { classes, sparse } = input.policy;
  const exactUpTo = denseUpTo(input.policy, memory.sparsity?.level ?? 0) ?? Infinity;
  const table = classes.flatMap(({ name, upToTokens }): Entry[] => {
    const earlier = before?.degrees?.find((one) => one.name === name)?.degree;
    const degree = Math.min(degrees[name] ?? earlier ?? 0, size.groupSize);
    if (sparse === undefined) return degree < 1 ? [] : [{ name, upToTokens, degree }];
    return [{ name, upToTokens, degree, attention: upToTokens > exactUpTo ? "auto" : "dense" }];
  });
  return {
    groups: size.groups,
    degree: size.groupSize,
    decodeRanks: size.decodeRanks,
    ...(table.length > 0 && { degrees: table }),
  };
}
