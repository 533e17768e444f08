/** A decision as people read it: the condition, the entry of status.decisions with its inputs, and the event's type. */
import type { DecisionRecord } from "../../crds/schema/cspsdeployment.ts";
import type {
  Because,
  Demand,
  ScalingDecision,
  ScalingInput,
  ScalingReason,
} from "../planning/scaling/decision.ts";
import { describe } from "../planning/scaling/fit.ts";
import type { ConditionDraft } from "../planning/status/reason.ts";

const holds: readonly ScalingReason[] = [
  "MetricsMissing",
  "MetricsStale",
  "MetricsAbsurd",
  "PodsPending",
  "ClockStepped",
  "ContradictoryBounds",
  "Fenced",
  "Uncalibrated",
];

export type Acting = "Advise" | "Enforce";

export function isHeld({ reasons }: Pick<ScalingDecision, "reasons">): boolean {
  return reasons.some(({ code }) => holds.includes(code));
}

/** What matters most of it: what holds it, then what can't be met, then what it does. */
export function tellingOf({ reasons }: Pick<ScalingDecision, "reasons">): Because<ScalingReason> {
  const telling =
    reasons.find(({ code }) => holds.includes(code)) ??
    reasons.find(({ code }) => code === "SLOInfeasible") ??
    reasons[0];
  return telling ?? { code: "Steady", sentence: "nothing was decided" };
}

/** Two decisions of the same news are told once: figures that drift are none. */
export function newsOf(decision: ScalingDecision, mode: Acting): string {
  const codes = decision.reasons.map(({ code, sentence }) => (holds.includes(code) ? sentence : code));
  const { sparseAboveTokens: above } = decision;
  const sparse = above === undefined ? [] : [`sparse above ${above} tokens`];
  return [mode, ...codes, describe(decision.size), ...sparse].join("; ");
}

export function scalingCondition(
  decision: ScalingDecision,
  mode: Acting,
  failures: readonly string[],
): ConditionDraft {
  const { code, sentence } = tellingOf(decision);
  const held = isHeld(decision);
  const advice = mode === "Advise" ? "advice only: " : "";
  const kept = held ? `; ${describe(decision.size)} are kept` : "";
  const unread = held && failures.length > 0 ? ` (${failures.join("; ")})` : "";
  return {
    type: "AutoscalingActive",
    status: held ? "False" : "True",
    reason: code,
    message: `${advice}${sentence}${kept}${unread}`,
  };
}

export function scalingRecord(decision: ScalingDecision, name: string, mode: Acting): DecisionRecord {
  const { input, reasons, refusals } = decision;
  const choice = reasons.map(({ code, sentence }) => `${code}: ${sentence}`).join("; ");
  return {
    time: new Date(input.nowMs).toISOString(),
    subject: scalingSubject(name),
    choice: mode === "Advise" ? `advice: ${choice}` : choice,
    ...(changes(decision) && { changed: true }),
    refusals: refusals.map(({ code, sentence }) => `${code}: ${sentence}`),
    inputs: inputsOf(input),
  };
}

export function scalingSubject(deployment: string): string {
  return `scaling of ${deployment}`;
}

/** Whether counts, or how far prompts are thinned, differ from what was in force. */
function changes({ input, size, memory }: ScalingDecision): boolean {
  const levelIn = (of: ScalingInput["memory"]): number => of.sparsity?.level ?? 0;
  return describe(size) !== describe(input.current) || levelIn(memory) !== levelIn(input.memory);
}

export function inputsOf(input: ScalingInput): string[] {
  const { nowMs, samples, expectedPods, demand, zero } = input;
  const ages = samples.map(({ atMs }) => (nowMs - atMs) / 1000);
  const oldest = ages.length === 0 ? "none" : `the oldest ${Math.max(...ages).toFixed(1)} s old`;
  return [
    `${samples.length} of ${expectedPods} pods read, ${oldest}`,
    ...(demand === undefined ? ["demand: unknown"] : demandLines(demand)),
    ...(zero === undefined
      ? []
      : [`${zero.waiting} requests wait for ranks, idle for ${idleOf(zero.idleForMs)}`]),
  ];
}

function demandLines({ classes, decode, forecastRatio }: Demand): string[] {
  return [
    ...classes
      .filter(({ arrivalsPerSecond, queued }) => arrivalsPerSecond > 0 || queued > 0)
      .map(
        ({ name, arrivalsPerSecond, queued, p90Tokens }) =>
          `class ${name}: ${arrivalsPerSecond.toFixed(2)} a second, ${queued} queued, p90 ${Math.round(p90Tokens)} tokens`,
      ),
    `decode: ${decode.liveContextTokens} tokens live, ${Math.round(decode.meanOutputTokens)} an answer, p90 ${(decode.p90TbtSeconds * 1000).toFixed(0)} ms between tokens`,
    `arrivals are expected to become ${forecastRatio.toFixed(2)} times as many`,
  ];
}

function idleOf(ms: number | undefined): string {
  return ms === undefined ? "an unknown time" : `${Math.floor(ms / 1000)} s`;
}
