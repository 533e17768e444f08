/**
 * Which counts are in force. Users own the spec; whoever decides on counts owns `status.scale`; the two never write the
 * same field, so that an apply of the spec and a decision can't undo each other.
 */
import type { CSPSDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import type { Scale } from "../../../crds/schema/autoscaling.ts";
import type { Range, Size } from "../scaling/decision.ts";
import { fitSize, gpusOf, nearestGroupSize } from "../scaling/fit.ts";
import { countBounds, scalingBounds } from "./bounds.ts";

type Spec = Pick<CSPSDeploymentSpec, "prefill" | "decode" | "autoscaling" | "model">;

export function clampTo({ min, max }: Range, value: number): number {
  return Math.min(max, Math.max(min, value));
}

/** Whether somebody else than the spec decides on the counts. */
export function isScaled({ autoscaling }: Pick<CSPSDeploymentSpec, "autoscaling">): boolean {
  return autoscaling.mode === "Enforce" || autoscaling.mode === "External";
}

/**
 * Off and Advise: the counts of the spec. Else those of `status.scale`, and before there are any the spec's; ranges and budget
 * hold in each case but one, zero, which is allowed where scaling to zero is.
 */
export function sizeInForce(spec: Spec, scale: Scale | undefined): Size {
  const stated = {
    groups: spec.prefill.groups,
    groupSize: spec.prefill.sequenceParallel.degree,
    decodeRanks: spec.decode.ranks,
  };
  if (!isScaled(spec)) return stated;
  const groupSize = clampTo(countBounds(spec).degree, scale?.degree ?? stated.groupSize);
  const asleep = scale?.groups === 0 && scale.decodeRanks === 0;
  if (asleep && spec.autoscaling.scaleToZero.enabled) return { groups: 0, groupSize, decodeRanks: 0 };
  const { groups, decodeRanks } = { ...stated, ...scale };
  return withinBudget(spec, { groups, groupSize, decodeRanks });
}

/** Nobody may have decided yet, or not since bounds were edited, and may not for as long as nothing is known of the load. */
function withinBudget(spec: Spec, wished: Size): Size {
  const { tensorParallel } = spec.prefill;
  const ranks = { tensorDegree: tensorParallel.degree };
  // The ratio of roles is for whoever decides: it would have one of them grow.
  const bounds = { ...scalingBounds(spec), ratio: { min: 0, max: Infinity } };
  const least = { ...wished, groups: bounds.groups.min, decodeRanks: bounds.decodeRanks.min };
  const groupSize =
    gpusOf(ranks, least) <= bounds.gpuBudget
      ? wished.groupSize
      : (nearestGroupSize(ranks, bounds, wished.groupSize) ?? wished.groupSize);
  const size = { ...wished, groupSize };
  return fitSize(ranks, bounds, size, size).size;
}

/** The spec as the builders of gangs take it. What a group or the pool needs to serve is never more than it has. */
export function withSizeInForce(spec: CSPSDeploymentSpec, scale: Scale | undefined): CSPSDeploymentSpec {
  const { groups, groupSize: degree, decodeRanks: ranks } = sizeInForce(spec, scale);
  const { prefill, decode } = spec;
  const { minDegree } = prefill.sequenceParallel;
  const least = minDegree === undefined ? {} : { minDegree: Math.min(minDegree, degree) };
  const minRanks = decode.minRanks === undefined ? {} : { minRanks: Math.min(decode.minRanks, ranks) };
  return {
    ...spec,
    prefill: { ...prefill, groups, sequenceParallel: { ...prefill.sequenceParallel, ...least, degree } },
    decode: { ...decode, ...minRanks, ranks },
  };
}

/** No rank is wanted at all. */
export function isAsleep({ prefill, decode }: Pick<CSPSDeploymentSpec, "prefill" | "decode">): boolean {
  return prefill.groups === 0 && decode.ranks === 0;
}
