/** The spec of a deployment as the planner takes it. */
import type { CSPSDeploymentSpec } from "../../../crds/schema/cspsdeployment.ts";
import type { SparsePrefill } from "../cost/profile.ts";
import type { LengthClass, ScalingPolicy } from "../scaling/decision.ts";
import { scalingBounds } from "./bounds.ts";

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
  return {
    classes: lengthClasses(spec),
    tbtSeconds: slo.tbtMs / 1000,
    bounds: scalingBounds(spec),
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
