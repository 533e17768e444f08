/** Bounds of the counts, with what the spec's own sections say where autoscaling says nothing. */
import type { CSPSDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import type { Bounds, Range } from "../scaling/decision.ts";

export interface CountBounds {
  readonly groups: Range;
  readonly degree: Range;
  readonly decodeRanks: Range;
}

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

export function scalingBounds(
  spec: Pick<CSPSDeploymentSpec, "prefill" | "decode" | "autoscaling" | "model">,
): Bounds {
  const { autoscaling, prefill } = spec;
  const { groups, decodeRanks, degree } = countBounds(spec);
  const percent = autoscaling.prefillToDecodePercent;
  const most = (groups.max * degree.max + decodeRanks.max) * prefill.tensorParallel.degree;
  return {
    groups,
    decodeRanks,
    groupSizes: groupSizes(spec),
    gpuBudget: autoscaling.gpuBudget ?? most,
    ratio: { min: percent.min / 100, max: percent.max / 100 },
  };
}

/** Degrees that double from the least to the largest, both included; all-to-all takes those that divide the heads. */
function groupSizes(
  spec: Pick<CSPSDeploymentSpec, "prefill" | "decode" | "autoscaling" | "model">,
): readonly number[] {
  const { min, max } = countBounds(spec).degree;
  const sizes: number[] = [];
  for (let size = min; size < max; size *= 2) sizes.push(size);
  sizes.push(max);
  const { sequenceParallel, tensorParallel } = spec.prefill;
  const heads = (spec.model.attentionHeads ?? 0) / tensorParallel.degree;
  const fits = (size: number): boolean => sequenceParallel.mode !== "allToAll" || heads % size === 0;
  return sizes.filter(fits);
}
