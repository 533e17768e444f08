/**
 * Rules that tie degrees to the model's heads and to the GPUs of a rank. They need fields of several
 * sections, so the spec as a whole carries them. Heads are optional: without them the engine finds out.
 */
import { sentence, type Rule } from "./rule.ts";

const roles = ["prefill", "decode"] as const;

function tensorParallelDividesHeads(role: string): Rule {
  const field = `${role}.tensorParallel.degree`;
  return {
    rule: `!has(self.model.attentionHeads) || self.model.attentionHeads % self.${field} == 0`,
    message: `${field} must divide model.attentionHeads`,
    messageExpression: sentence(`${field} is %d but must divide model.attentionHeads, which is %d`, [
      `self.${field}`,
      "self.model.attentionHeads",
    ]),
    fieldPath: `.${field}`,
  };
}

/** Fewer key/value heads than GPUs are copied, which works out only when the GPUs divide evenly over them. */
function tensorParallelFitsKeyValueHeads(role: string): Rule {
  const field = `${role}.tensorParallel.degree`;
  return {
    rule: `!has(self.model.keyValueHeads) || self.model.keyValueHeads % self.${field} == 0 || self.${field} % self.model.keyValueHeads == 0`,
    message: `${field} must divide model.keyValueHeads or be a multiple of it`,
    messageExpression: sentence(
      `${field} is %d but must divide model.keyValueHeads or be a multiple of it, which is %d`,
      [`self.${field}`, "self.model.keyValueHeads"],
    ),
    fieldPath: `.${field}`,
  };
}

/** On cpu the devices are not used, so any number of them may be asked for to steer placement. */
function gpuLimitIsTensorParallelDegree(role: string): Rule {
  const limits = `self.${role}.rank.resources.limits`;
  const field = `${role}.tensorParallel.degree`;
  return {
    rule: `self.engine.backend != 'cuda' || !has(self.${role}.rank.resources) || !has(${limits}) || !('nvidia.com/gpu' in ${limits}) || string(${limits}['nvidia.com/gpu']) == string(self.${field})`,
    message: `${role}.rank.resources.limits[nvidia.com/gpu] must equal ${field} when engine.backend is cuda`,
    messageExpression: sentence(
      `${role}.rank.resources.limits[nvidia.com/gpu] is %s but must equal ${field}, which is %d, when engine.backend is cuda`,
      [`string(${limits}['nvidia.com/gpu'])`, `self.${field}`],
    ),
    fieldPath: `.${role}.rank.resources.limits`,
  };
}

/** Pages go from head shard to head shard, so both sides must be cut alike. */
const tensorParallelIsOneDegree: Rule = {
  rule: "self.prefill.tensorParallel.degree == self.decode.tensorParallel.degree",
  message: "decode.tensorParallel.degree must equal prefill.tensorParallel.degree",
  messageExpression: sentence(
    "decode.tensorParallel.degree is %d but must equal prefill.tensorParallel.degree, which is %d: ranks exchange KV by head shard",
    ["self.decode.tensorParallel.degree", "self.prefill.tensorParallel.degree"],
  ),
  fieldPath: ".decode.tensorParallel.degree",
};

const headsPerRank = "self.model.attentionHeads / self.prefill.tensorParallel.degree";

const allToAllDividesHeads: Rule = {
  rule: `self.prefill.sequenceParallel.mode != 'allToAll' || !has(self.model.attentionHeads) || (${headsPerRank}) % self.prefill.sequenceParallel.degree == 0`,
  message:
    "prefill.sequenceParallel.degree must divide model.attentionHeads / prefill.tensorParallel.degree when mode is allToAll",
  messageExpression: sentence(
    "prefill.sequenceParallel.degree is %d but must divide model.attentionHeads / prefill.tensorParallel.degree, which is %d, when mode is allToAll; kvGather takes any degree",
    ["self.prefill.sequenceParallel.degree", headsPerRank],
  ),
  fieldPath: ".prefill.sequenceParallel.degree",
};

export const degreeRules: readonly Rule[] = [
  ...roles.map(tensorParallelDividesHeads),
  ...roles.map(tensorParallelFitsKeyValueHeads),
  ...roles.map(gpuLimitIsTensorParallelDegree),
  tensorParallelIsOneDegree,
  allToAllDividesHeads,
];
