/** Plays decisions one after the other, each taken from what the one before it left. */
import type { Demand, ScalingDecision, ScalingInput } from "../decision.ts";
import { planScaling } from "../plan.ts";

export function play(
  start: ScalingInput,
  steps: number,
  demandAt: (step: number) => Demand | undefined,
  stepMs = 30_000,
): readonly ScalingDecision[] {
  const decisions: ScalingDecision[] = [];
  let input = start;
  for (let step = 0; step < steps; step++) {
    const nowMs = start.nowMs + step * stepMs;
    const samples = start.samples.map((sample) => ({ ...sample, atMs: nowMs }));
    const decision = planScaling({ ...input, nowMs, samples, demand: demandAt(step) });
    decisions.push(decision);
    input = { ...input, current: decision.size, memory: decision.memory };
  }
  return decisions;
}

/** Changes of size in a series of decisions. */
export function changes(decisions: readonly ScalingDecision[]): number {
  return decisions.filter(({ input, size }) => JSON.stringify(size) !== JSON.stringify(input.current)).length;
}
