/**
 * Which counts are in force. Users own the spec; whoever decides on counts owns `status.scale`; the two never write the
 * same field, so that an apply of the spec and a decision can't undo each other.
 */
import type { CSPSDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import type { Scale } from "../../../crds/schema/autoscaling.ts";
import type { Range, Size } from "../scaling/decision.ts";

export interface CountBounds {
  readonly groups: Range;
  readonly degree: Range;
  readonly decodeRanks: Range;
}

/** Bounds with what the spec's own sections say where autoscaling says nothing. */
export function countBounds(
  spec: Pick<CSPSDeploymentSpec, "prefill" | "decode" | "autoscaling">,
): CountBounds {
  const { prefill, decode, autoscaling } = spec;
  const { degree, maxDegree } = prefill.sequenceParallel;
  return {
    groups: { min: autoscaling.groups.min, max: autoscaling.groups.max ?? prefill.groups },
    degree: {
      min: autoscaling.degree?.min ?? degree,
      max: autoscaling.degree?.max ?? maxDegree ?? degree,
    },
    decodeRanks: { min: autoscaling.decodeRanks.min, max: autoscaling.decodeRanks.max ?? decode.ranks },
  };
}

export function clampTo({ min, max }: Range, value: number): number {
  return Math.min(max, Math.max(min, value));
}

/** Whether somebody else than the spec decides on the counts. */
export function isScaled({ autoscaling }: Pick<CSPSDeploymentSpec, "autoscaling">): boolean {
  return autoscaling.mode === "Enforce" || autoscaling.mode === "External";
}

/**
 * Off and Advise: the counts of the spec. Else those of `status.scale`, and before there are any the spec's; bounds hold
 * in each case but one, zero, which is allowed where scaling to zero is.
 */
export function sizeInForce(
  spec: Pick<CSPSDeploymentSpec, "prefill" | "decode" | "autoscaling">,
  scale: Scale | undefined,
): Size {
  const stated = {
    groups: spec.prefill.groups,
    groupSize: spec.prefill.sequenceParallel.degree,
    decodeRanks: spec.decode.ranks,
  };
  if (!isScaled(spec)) return stated;
  const bounds = countBounds(spec);
  const asleep = scale?.groups === 0 && scale.decodeRanks === 0;
  if (asleep && spec.autoscaling.scaleToZero.enabled)
    return { groups: 0, groupSize: clampTo(bounds.degree, scale.degree), decodeRanks: 0 };
  return {
    groups: clampTo(bounds.groups, scale?.groups ?? stated.groups),
    groupSize: clampTo(bounds.degree, scale?.degree ?? stated.groupSize),
    decodeRanks: clampTo(bounds.decodeRanks, scale?.decodeRanks ?? stated.decodeRanks),
  };
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
