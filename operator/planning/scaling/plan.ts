/**
 * One scaling decision. What may not be concluded from keeps the present size; then each signal says what it needs, the
 * largest wish grows a role and only unanimous wishes shrink it; shrinking waits for its window and for the state store;
 * the result is made to fit the bounds. A pure function of the input, which the decision carries, so that it can be replayed.
 */
import type { CostProfile } from "../cost/profile.ts";
import type {
  Because,
  Demand,
  ScalingDecision,
  ScalingInput,
  ScalingReason,
  ScalingRefusal,
  Size,
} from "./decision.ts";
import { allowedGroupSizes, describe, fitSize, gpusOf } from "./fit.ts";
import { freezeShrinking } from "./freeze.ts";
import { assignDegrees } from "./prefillNeed.ts";
import { costAt, highestLevel, planSparsity, type Sparsity } from "./sparsity.ts";
import { remember, settledLiveTokens, stabilize } from "./stabilize.ts";
import { holdReason } from "./validity.ts";
import { planZero } from "./zero.ts";
import {
  isAllowed,
  pressingTargets,
  reachableTbtSeconds,
  wishDecode,
  wishPrefill,
  type RoleWish,
} from "./wishes.ts";

export function planScaling(input: ScalingInput): ScalingDecision {
  const zero = planZero(input);
  if (zero !== undefined) return zero;
  const hold = holdReason(input);
  if (hold !== undefined || input.demand === undefined) return held(input, hold === undefined ? [] : [hold]);
  const { nowMs, policy, cost, current, memory } = input;
  const live = settledLiveTokens(memory, input.demand.decode.liveContextTokens);
  const demand = { ...input.demand, decode: { ...input.demand.decode, liveContextTokens: live.median } };

  // Grown only for what the ranks hold neither at the cap of sparsity nor without any, shrunk only to what holds without.
  const capped = { ...input, cost: costAt(input, highestLevel(policy)) };
  const exact = costAt(input, 0);
  const prefill = wishPrefill(capped, demand, exact);
  const decode = wishDecode(input, demand);
  const wished: Size = { ...prefill.wished, decodeRanks: decode.wished };
  // A group size that may no longer be used is left at once, whatever the window says.
  const present = isAllowed(input) ? current : { ...current, ...prefill.wished };
  const patience = { baseMs: policy.stabilizationMs, seasonal: demand.seasonal ?? false };
  const groupSizes = allowedGroupSizes(cost, policy.bounds);
  const settled = stabilize(memory, { nowMs, groupSizes, ...patience }, present, wished);
  const frozen = freezeShrinking(input, present, settled.size);
  const fitted = fitSize(cost, policy.bounds, current, frozen.size);

  const sparsity = planSparsity(input, demand, fitted.size);
  const served = { ...input, cost: costAt(input, sparsity?.level ?? 0) };
  const targets = pressingTargets(served, demand);
  return {
    input,
    size: fitted.size,
    degrees: assignDegrees(served.cost, policy, targets, fitted.size).degrees,
    ...(sparsity?.aboveTokens !== undefined && { sparseAboveTokens: sparsity.aboveTokens }),
    reasons: [...changeReasons(input, fitted.size, sparsity), ...infeasible(capped, demand, exact)],
    refusals: [
      ...notUnanimous("prefill", prefill),
      ...notUnanimous("decode", decode),
      ...settled.waiting.map((role) => waits(role, wished)),
      ...frozen.refusals,
      ...fitted.refusals,
    ],
    wishes: [...prefill.record, ...decode.record],
    memory: remember(memory, nowMs, {
      from: current,
      to: fitted.size,
      wishes: settled.wishes,
      liveContextTokens: live.recent,
      ...(sparsity !== undefined && { sparsity: sparsity.memory }),
    }),
  };
}

/** The decision that the recorded input leads to; equal to the record, or the record was not made by this code. */
export function replay(record: ScalingDecision): ScalingDecision {
  return planScaling(record.input);
}

function held(input: ScalingInput, reasons: readonly Because<ScalingReason>[]): ScalingDecision {
  const { nowMs, current, memory } = input;
  const stepped = reasons.some(({ code }) => code === "ClockStepped");
  return {
    input,
    size: current,
    degrees: {},
    reasons,
    refusals: [],
    wishes: [],
    // Wishes from before a step of the clock say nothing about the time since.
    memory: { ...memory, lastDecisionMs: nowMs, wishes: stepped ? [] : memory.wishes },
  };
}

function changeReasons(
  { cost, current }: ScalingInput,
  size: Size,
  sparsity: Sparsity | undefined,
): readonly Because<ScalingReason>[] {
  const change = gpusOf(cost, size) - gpusOf(cost, current);
  const grows =
    size.groups * size.groupSize > current.groups * current.groupSize ||
    size.decodeRanks > current.decodeRanks;
  if (describe(size) === describe(current))
    return [{ code: "Steady", sentence: `${describe(size)} hold the load${thinned(sparsity)}` }];
  const code = grows ? "ScaleUp" : "ScaleDown";
  const gpus = `${change >= 0 ? "+" : ""}${change} GPUs`;
  return [{ code, sentence: `${describe(current)} become ${describe(size)}, ${gpus}${thinned(sparsity)}` }];
}

function thinned(sparsity: Sparsity | undefined): string {
  if (sparsity?.aboveTokens === undefined) return "";
  return `; attention of prompts above ${sparsity.aboveTokens} tokens is sparse`;
}

function infeasible(
  input: ScalingInput,
  demand: Demand,
  exact: CostProfile,
): readonly Because<ScalingReason>[] {
  const { policy } = input;
  const reasons: Because<ScalingReason>[] = pressingTargets(input, demand, exact)
    .filter((target) => target.ttftSeconds === undefined)
    .map((target) => ({
      code: "SLOInfeasible",
      sentence: Number.isFinite(target.bestTtftSeconds)
        ? `no degree brings prompts of class ${target.demand.name} under their TTFT; the best is ${target.bestTtftSeconds.toFixed(2)} s`
        : `prompts of class ${target.demand.name} fit no allowed group size`,
    }));
  const reachable = reachableTbtSeconds(input, demand);
  if (reachable > policy.tbtSeconds && demand.decode.arrivalsPerSecond > 0) {
    const sentence = `no pool decodes in ${policy.tbtSeconds} s a token; ${reachable.toFixed(4)} s is planned for`;
    reasons.push({ code: "SLOInfeasible", sentence });
  }
  return reasons;
}

function notUnanimous(role: string, wish: RoleWish<unknown>): readonly Because<ScalingRefusal>[] {
  if (wish.agreeing.length === 0 || wish.disagreeing.length === 0) return [];
  const sentence = `${role} does not shrink: ${wish.agreeing.join(", ")} would allow it, ${wish.disagreeing.join(", ")} would not`;
  return [{ code: "NotUnanimous", sentence }];
}

function waits(role: string, wished: Size): Because<ScalingRefusal> {
  return { code: "Stabilizing", sentence: `${role} waits with shrinking to ${describe(wished)}` };
}
