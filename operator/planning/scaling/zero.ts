/** No ranks at all while nobody asks. Going there takes fresh metrics; waking up takes one request that waits. */
import type { Range, ScalingDecision, ScalingInput, ScalingReason, Size } from "./decision.ts";
import { describe, fitSize, nearestGroupSize } from "./fit.ts";
import { holdReason, noSizeAllowed } from "./validity.ts";

/** @returns undefined when there are ranks and reason to plan for them. */
export function planZero(input: ScalingInput): ScalingDecision | undefined {
  const { current, policy, zero, store } = input;
  if (store?.kind === "fenced") return undefined;
  const asleep = current.groups === 0 && current.decodeRanks === 0;
  // Bounds that begin at zero leave it to the planner, which sees the demand.
  const bounded = policy.bounds.groups.min > 0 || policy.bounds.decodeRanks.min > 0;
  if (asleep && (zero !== undefined || bounded)) return planWaking(input);
  if (zero === undefined || zero.waiting > 0 || zero.idleForMs === undefined) return undefined;
  if (store !== undefined) return undefined;
  if (zero.idleForMs < zero.afterIdleMs || holdReason({ ...input, uncalibrated: undefined }) !== undefined)
    return undefined;
  const seconds = Math.floor(zero.idleForMs / 1000);
  const none: Size = { ...current, groups: 0, decodeRanks: 0 };
  return decided(input, none, { code: "ScaledToZero", sentence: `nobody has asked for ${seconds} s` });
}

function planWaking(input: ScalingInput): ScalingDecision {
  const { current, zero } = input;
  const least = leastAwake(input);
  if (least === undefined) return decided(input, current, noSizeAllowed(input.policy.bounds));
  if (zero === undefined)
    return decided(input, least, { code: "Woken", sentence: "scaling to zero is not allowed any more" });
  if (zero.waiting > 0) {
    const sentence = `${zero.waiting} requests wait; ${describe(least)} are started for them`;
    return decided(input, least, { code: "Woken", sentence });
  }
  // Pods that are still going, and a profile that nobody has measured, are no reason to worry here.
  const blind = holdReason({ ...input, pendingPods: 0, uncalibrated: undefined });
  return decided(input, current, blind ?? { code: "Asleep", sentence: "nobody asks, and no rank runs" });
}

/** Bounds may have changed during sleep: the group size from before it is kept only where it still fits. */
function leastAwake({ current, policy, cost }: ScalingInput): Size | undefined {
  const bounds = {
    ...policy.bounds,
    groups: atLeastOne(policy.bounds.groups),
    decodeRanks: atLeastOne(policy.bounds.decodeRanks),
  };
  const groupSize = nearestGroupSize(cost, bounds, current.groupSize);
  if (groupSize === undefined) return undefined;
  const least = { groups: bounds.groups.min, groupSize, decodeRanks: bounds.decodeRanks.min };
  return fitSize(cost, bounds, current, least).size;
}

const atLeastOne = ({ min, max }: Range): Range => ({ min: Math.max(1, min), max: Math.max(1, max) });

function decided(
  input: ScalingInput,
  size: Size,
  reason: { readonly code: ScalingReason; readonly sentence: string },
): ScalingDecision {
  const { memory, nowMs } = input;
  return {
    input,
    size,
    degrees: {},
    reasons: [reason],
    refusals: [],
    wishes: [],
    // Sleep is no reversal of a growth, and wishes from before it say nothing about the time after.
    memory: { ...memory, wishes: [], lastDecisionMs: nowMs },
  };
}
