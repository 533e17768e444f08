/** The spec of a deployment as the planner takes it. */
import type { CSPSDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import type { SparsePrefill } from "../cost/profile.ts";
import type { LengthClass, ScalingPolicy } from "../scaling/decision.ts";
import { countBounds } from "./force.ts";

type Spec = Pick<CSPSDeploymentSpec, "prefill" | "decode" | "autoscaling" | "slo" | "model">;

/** Planned work fills at most so much of the groups' time. */
export const utilisation = 0.9;
/** A smaller size is taken only if it holds so much of the objectives. */
export const consolidation = 0.95;
/** So many of the pods must have told of themselves lately. */
export const quorum = 0.67;

/** Widths of the engine's sparse attention that its cost depends on. */
export const blocks = { kind: "blocks", blockTokens: 32, tailTokens: 64 } as const;

/**
 * What prompts may be thinned to before ranks are added. A budget of all keys has no cost that could be planned with, and
 * a floor of all attention leaves nothing out.
 */
function sparsityCap({ prefill, autoscaling }: Spec): SparsePrefill | undefined {
  const { mode, minTokens, budgetPercent, qualityFloorPercent } = prefill.sparseAttention;
  const knob = mode === "UnderPressure" && autoscaling.mode === "Enforce";
  if (!knob || budgetPercent === 100 || qualityFloorPercent === 100) return undefined;
  return { selection: { ...blocks, budget: budgetPercent / 100 }, denseUpToTokens: minTokens - 1 };
}

export function scalingPolicy(spec: Spec): ScalingPolicy {
  const { autoscaling, slo } = spec;
  const { groups, decodeRanks, degree } = countBounds(spec);
  const percent = autoscaling.prefillToDecodePercent;
  const tensorDegree = spec.prefill.tensorParallel.degree;
  return {
    classes: lengthClasses(spec),
    tbtSeconds: slo.tbtMs / 1000,
    bounds: {
      groups,
      decodeRanks,
      groupSizes: groupSizes(spec),
      gpuBudget: autoscaling.gpuBudget ?? (groups.max * degree.max + decodeRanks.max) * tensorDegree,
      ratio: { min: percent.min / 100, max: percent.max / 100 },
    },
    utilisation,
    consolidation,
    drainSeconds: autoscaling.queueDrainSeconds,
    stabilizationMs: autoscaling.stabilizationSeconds * 1000,
    maxSampleAgeMs: autoscaling.maxSampleAgeSeconds * 1000,
    quorum,
    sparse: sparsityCap(spec),
  };
}

/** One class for all prompts where none are named. */
export function objectiveClasses({ slo, model }: Pick<Spec, "slo" | "model">) {
  return slo.classes ?? [{ name: "all", upToTokens: model.contextLength, ttftMs: slo.ttftMs }];
}

export function lengthClasses(spec: Pick<Spec, "slo" | "model">): readonly LengthClass[] {
  return objectiveClasses(spec).map(({ name, upToTokens, ttftMs }) => ({
    name,
    upToTokens,
    ttftSeconds: ttftMs / 1000,
  }));
}

/** Degrees that double from the least to the largest, both included; all-to-all takes those that divide the heads. */
export function groupSizes(
  spec: Pick<Spec, "prefill" | "decode" | "autoscaling" | "model">,
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
