/** Rules that tie the bounds of autoscaling to each other and to the sections whose counts they bound. */
import { sentence, type Rule } from "./rule.ts";

const bounds = "self.autoscaling";
const sp = "self.prefill.sequenceParallel";
const mostGroups = `(has(${bounds}.groups.max) ? ${bounds}.groups.max : self.prefill.groups)`;
const mostRanks = `(has(${bounds}.decodeRanks.max) ? ${bounds}.decodeRanks.max : self.decode.ranks)`;
const leastDegree = `(has(${bounds}.degree) && has(${bounds}.degree.min) ? ${bounds}.degree.min : ${sp}.degree)`;
const mostDegree = `(has(${bounds}.degree) && has(${bounds}.degree.max) ? ${bounds}.degree.max : (has(${sp}.maxDegree) ? ${sp}.maxDegree : ${sp}.degree))`;
const leastPrefill = `${bounds}.groups.min * ${leastDegree}`;
const leastGpus = `(${leastPrefill} * self.prefill.tensorParallel.degree + ${bounds}.decodeRanks.min * self.decode.tensorParallel.degree)`;
const ratio = `${bounds}.prefillToDecodePercent`;

function atMost(
  field: string,
  value: string,
  other: { readonly field: string; readonly value: string },
): Rule {
  return {
    rule: `${value} <= ${other.value}`,
    message: `${field} must be at most ${other.field}`,
    messageExpression: sentence(`${field} is %d but must be at most ${other.field}, which is %d`, [
      value,
      other.value,
    ]),
    fieldPath: `.${field}`,
  };
}

export const autoscalingRules: readonly Rule[] = [
  atMost("autoscaling.groups.min", `${bounds}.groups.min`, {
    field: "autoscaling.groups.max (prefill.groups when absent)",
    value: mostGroups,
  }),
  atMost("autoscaling.decodeRanks.min", `${bounds}.decodeRanks.min`, {
    field: "autoscaling.decodeRanks.max (decode.ranks when absent)",
    value: mostRanks,
  }),
  {
    rule: `!has(${bounds}.degree) || ${leastDegree} <= ${mostDegree}`,
    message: "autoscaling.degree.min must be at most autoscaling.degree.max",
    messageExpression: sentence(
      "autoscaling.degree.min is %d but must be at most autoscaling.degree.max, which is %d",
      [leastDegree, mostDegree],
    ),
    fieldPath: ".autoscaling.degree",
  },
  {
    rule: `!has(${bounds}.gpuBudget) || ${leastGpus} <= ${bounds}.gpuBudget`,
    message: "autoscaling.gpuBudget must hold the minimum of both roles",
    messageExpression: sentence("autoscaling.gpuBudget is %d but the minimum of both roles takes %d GPUs", [
      `${bounds}.gpuBudget`,
      leastGpus,
    ]),
    fieldPath: ".autoscaling.gpuBudget",
  },
  {
    rule: `${leastPrefill} * 100 <= ${ratio}.max * ${mostRanks}`,
    message: "autoscaling.prefillToDecodePercent.max leaves no size within the other bounds",
    messageExpression: sentence(
      "autoscaling.prefillToDecodePercent.max is %d, but %d prefill ranks at least and %d decode ranks at most are more than that",
      [`${ratio}.max`, leastPrefill, mostRanks],
    ),
    fieldPath: ".autoscaling.prefillToDecodePercent.max",
  },
  {
    rule: `${ratio}.min * ${bounds}.decodeRanks.min <= ${mostGroups} * ${mostDegree} * 100`,
    message: "autoscaling.prefillToDecodePercent.min leaves no size within the other bounds",
    messageExpression: sentence(
      "autoscaling.prefillToDecodePercent.min is %d, but %d prefill ranks at most and %d decode ranks at least are less than that",
      [`${ratio}.min`, `${mostGroups} * ${mostDegree}`, `${bounds}.decodeRanks.min`],
    ),
    fieldPath: ".autoscaling.prefillToDecodePercent.min",
  },
  {
    rule: `!${bounds}.scaleToZero.enabled || ${bounds}.mode == 'Enforce'`,
    message: "autoscaling.mode must be Enforce when autoscaling.scaleToZero.enabled is true",
    messageExpression: sentence(
      "autoscaling.mode is %s but must be Enforce when autoscaling.scaleToZero.enabled is true",
      [`${bounds}.mode`],
    ),
    fieldPath: ".autoscaling.mode",
  },
];
