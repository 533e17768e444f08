/** One case a rule of the API: an object that breaks only this rule, and what the answer must name. */
export interface Refusal {
  why: string;
  object: object;
  /** Path that the answer starts its sentence with. */
  field: string;
  /** The rule, with the values. */
  says: string;
}

interface Sections {
  name?: string;
  model?: object;
  engine?: object;
  prefill?: object;
  decode?: object;
  gateway?: object;
  stateStore?: object;
  slo?: object;
  autoscaling?: object;
}

const source = { image: { reference: "example.com/m:1" } };
const model = { name: "m", contextLength: 8192, source };

function deployment({ name = "refused", ...sections }: Sections): object {
  return {
    apiVersion: "csps.io/v1alpha1",
    kind: "CSPSDeployment",
    metadata: { name },
    spec: { ...sections, model: { ...model, ...sections.model } },
  };
}

const gpus = (count: unknown): object => ({ resources: { limits: { "nvidia.com/gpu": count } } });

const gang = {
  deployment: "d",
  revision: "r",
  ranks: 2,
  minRanks: 3,
  model,
  engine: {},
  tensorParallel: {},
  rank: {},
  stateStoreSecret: "s",
  controlTokenSecret: "t",
};

const bounds: Refusal[] = [
  {
    why: "degree 0",
    object: deployment({ prefill: { sequenceParallel: { degree: 0 } } }),
    field: "spec.prefill.sequenceParallel.degree",
    says: "should be greater than or equal to 1",
  },
  {
    why: "a threshold in decode over the whole",
    object: deployment({ decode: { sparseAttention: { thresholdPercent: 101 } } }),
    field: "spec.decode.sparseAttention.thresholdPercent",
    says: "should be less than or equal to 100",
  },
  {
    why: "degree as text",
    object: deployment({ prefill: { sequenceParallel: { degree: "two" } } }),
    field: "spec.prefill.sequenceParallel.degree",
    says: "expected numeric (int or float), got string",
  },
  {
    why: "no decode rank",
    object: deployment({ decode: { ranks: 0 } }),
    field: "spec.decode.ranks",
    says: "should be greater than or equal to 1",
  },
  {
    why: "more ranks than any cluster has",
    object: deployment({ decode: { ranks: 100000 } }),
    field: "spec.decode.ranks",
    says: "should be less than or equal to 4096",
  },
  {
    why: "context too short for a page",
    object: deployment({ model: { contextLength: 10 } }),
    field: "spec.model.contextLength",
    says: "should be greater than or equal to 64",
  },
  {
    why: "unknown backend",
    object: deployment({ engine: { backend: "rocm" } }),
    field: "spec.engine.backend",
    says: 'Unsupported value: "rocm": supported values: "cpu", "cuda"',
  },
  {
    why: "unknown SP mode",
    object: deployment({ prefill: { sequenceParallel: { mode: "ring" } } }),
    field: "spec.prefill.sequenceParallel.mode",
    says: 'Unsupported value: "ring"',
  },
  {
    why: "port out of range",
    object: deployment({ gateway: { port: 70000 } }),
    field: "spec.gateway.port",
    says: "should be less than or equal to 65535",
  },
  {
    why: "memory that is no quantity",
    object: deployment({ decode: { kvCacheMemory: "lots" } }),
    field: "spec.decode.kvCacheMemory",
    says: "should match",
  },
  {
    why: "a limit that is no quantity",
    object: deployment({ prefill: { rank: { resources: { limits: { memory: "16 GB" } } } } }),
    field: "spec.prefill.rank.resources.limits.memory",
    says: "should match",
  },
  {
    why: "a relative path in the model image",
    object: deployment({ model: { source: { image: { reference: "m:1", path: "model" } } } }),
    field: "spec.model.source.image.path",
    says: "should match",
  },
  {
    why: "a mode of rebalancing that is none",
    object: deployment({ decode: { rebalance: { mode: "Auto" } } }),
    field: "spec.decode.rebalance.mode",
    says: 'Unsupported value: "Auto": supported values: "Disabled", "Enabled"',
  },
  {
    why: "a drain without time",
    object: deployment({ decode: { rebalance: { drainSeconds: 0 } } }),
    field: "spec.decode.rebalance.drainSeconds",
    says: "should be greater than or equal to 1",
  },
  {
    why: "no model",
    object: { apiVersion: "csps.io/v1alpha1", kind: "CSPSDeployment", metadata: { name: "none" }, spec: {} },
    field: "spec.model",
    says: "Required value",
  },
];

const sections: Refusal[] = [
  {
    why: "minDegree above degree",
    object: deployment({ prefill: { sequenceParallel: { degree: 2, minDegree: 3 } } }),
    field: "spec.prefill.sequenceParallel.minDegree",
    says: "minDegree is 3 but must be at most degree, which is 2",
  },
  {
    why: "degree above maxDegree",
    object: deployment({ prefill: { sequenceParallel: { degree: 8, maxDegree: 4 } } }),
    field: "spec.prefill.sequenceParallel.degree",
    says: "degree is 8 but must be at most maxDegree, which is 4",
  },
  {
    why: "minDegree above the default degree",
    object: deployment({ prefill: { sequenceParallel: { minDegree: 2 } } }),
    field: "spec.prefill.sequenceParallel.minDegree",
    says: "minDegree is 2 but must be at most degree, which is 1",
  },
  {
    why: "minRanks above ranks",
    object: deployment({ decode: { ranks: 2, minRanks: 3 } }),
    field: "spec.decode.minRanks",
    says: "minRanks is 3 but must be at most ranks, which is 2",
  },
  {
    why: "moves that share too few bytes a second",
    object: deployment({ decode: { rebalance: { bytesPerSecond: 1048576, concurrentMoves: 5 } } }),
    field: "spec.decode.rebalance.bytesPerSecond",
    says: "bytesPerSecond is 1048576 but must be at least 262144 for each of concurrentMoves, which is 5",
  },
  {
    why: "no model source",
    object: deployment({ model: { source: {} } }),
    field: "spec.model.source",
    says: "exactly one of image and persistentVolumeClaim must be given, none is",
  },
  {
    why: "two model sources",
    object: deployment({ model: { source: { ...source, persistentVolumeClaim: { claimName: "models" } } } }),
    field: "spec.model.source",
    says: "exactly one of image and persistentVolumeClaim must be given, both are",
  },
  {
    why: "an external store without its Secret",
    object: deployment({ stateStore: { mode: "External" } }),
    field: "spec.stateStore.mode",
    says: "urlSecret must be given when mode is External",
  },
  {
    why: "a bundled store with a Secret",
    object: deployment({ stateStore: { urlSecret: { name: "redis" } } }),
    field: "spec.stateStore.urlSecret",
    says: "urlSecret must be absent when mode is Bundled",
  },
  {
    why: "requests above limits",
    object: deployment({
      gateway: { resources: { requests: { memory: "2Gi" }, limits: { memory: "1024Mi" } } },
    }),
    field: "spec.gateway.resources.requests",
    says: "requests must be at most limits",
  },
  {
    why: "a GPU that is only requested",
    object: deployment({ prefill: { rank: { resources: { requests: { "nvidia.com/gpu": 1 } } } } }),
    field: "spec.prefill.rank.resources.requests",
    says: "a device, such as nvidia.com/gpu, must be in limits, with the same number as in requests",
  },
  {
    why: "a toleration of every key without Exists",
    object: deployment({ decode: { rank: { tolerations: [{ effect: "NoSchedule" }] } } }),
    field: "spec.decode.rank.tolerations[0]",
    says: "operator must be Exists when key is absent",
  },
  {
    why: "a toleration with Exists and a value",
    object: deployment({ decode: { rank: { tolerations: [{ key: "a", operator: "Exists", value: "b" }] } } }),
    field: "spec.decode.rank.tolerations[0]",
    says: "value must be absent when operator is Exists",
  },
  {
    why: "tolerationSeconds without NoExecute",
    object: deployment({
      decode: { rank: { tolerations: [{ key: "a", value: "b", tolerationSeconds: 5 }] } },
    }),
    field: "spec.decode.rank.tolerations[0]",
    says: "effect must be NoExecute when tolerationSeconds is given",
  },
];

const degrees: Refusal[] = [
  {
    why: "key/value heads that don't divide the query heads",
    object: deployment({ model: { attentionHeads: 9, keyValueHeads: 2 } }),
    field: "spec.model.keyValueHeads",
    says: "keyValueHeads is 2 but must divide attentionHeads, which is 9",
  },
  ...(["prefill", "decode"] as const).flatMap((role): Refusal[] => [
    {
      why: `TP of ${role} that does not divide the heads`,
      object: deployment({ model: { attentionHeads: 9 }, [role]: { tensorParallel: { degree: 2 } } }),
      field: `spec.${role}.tensorParallel.degree`,
      says: `${role}.tensorParallel.degree is 2 but must divide model.attentionHeads, which is 9`,
    },
    {
      why: `TP of ${role} that does not fit the key/value heads`,
      object: deployment({ model: { keyValueHeads: 6 }, [role]: { tensorParallel: { degree: 4 } } }),
      field: `spec.${role}.tensorParallel.degree`,
      says: `${role}.tensorParallel.degree is 4 but must divide model.keyValueHeads or be a multiple of it, which is 6`,
    },
    {
      why: `GPUs of ${role} that are not the TP degree, on cuda`,
      object: deployment({ [role]: { tensorParallel: { degree: 4 }, rank: gpus(8) } }),
      field: `spec.${role}.rank.resources.limits`,
      says: `${role}.rank.resources.limits[nvidia.com/gpu] is 8 but must equal ${role}.tensorParallel.degree, which is 4, when engine.backend is cuda`,
    },
    {
      why: `GPUs of ${role} as text that are not the TP degree, on cuda`,
      object: deployment({ [role]: { rank: gpus("2") } }),
      field: `spec.${role}.rank.resources.limits`,
      says: `${role}.rank.resources.limits[nvidia.com/gpu] is 2 but must equal ${role}.tensorParallel.degree, which is 1`,
    },
  ]),
  {
    why: "TP of decode that is not that of prefill",
    object: deployment({
      prefill: { tensorParallel: { degree: 2 } },
      decode: { tensorParallel: { degree: 4 } },
    }),
    field: "spec.decode.tensorParallel.degree",
    says: "decode.tensorParallel.degree is 4 but must equal prefill.tensorParallel.degree, which is 2: ranks exchange KV by head shard",
  },
  {
    why: "all-to-all whose degree does not divide the heads of a rank",
    object: deployment({
      model: { attentionHeads: 32 },
      prefill: { sequenceParallel: { degree: 16, mode: "allToAll" }, tensorParallel: { degree: 4 } },
    }),
    field: "spec.prefill.sequenceParallel.degree",
    says: "degree is 16 but must divide model.attentionHeads / prefill.tensorParallel.degree, which is 8, when mode is allToAll",
  },
];

const objects: Refusal[] = [
  {
    why: "a name that a Service can't have",
    object: deployment({ name: "1st.model" }),
    field: "metadata.name",
    says: "metadata.name must have at most 40 characters",
  },
  {
    why: "a name too long for pods to be named after it",
    object: deployment({ name: "m".repeat(41) }),
    field: "metadata.name",
    says: "metadata.name must have at most 40 characters",
  },
  ...["SPGroup", "DecodePool"].map((kind): Refusal => ({
    why: `a ${kind} that needs more ranks than it has`,
    object: {
      apiVersion: "csps.io/v1alpha1",
      kind,
      metadata: { name: "g" },
      spec: kind === "SPGroup" ? { ...gang, ordinal: 0, mode: "auto" } : gang,
    },
    field: "spec.minRanks",
    says: "minRanks is 3 but must be at most ranks, which is 2",
  })),
];

const classes = [
  { name: "long", upToTokens: 65536, ttftMs: 5000 },
  { name: "short", upToTokens: 4096, ttftMs: 500 },
];

const autoscaling: Refusal[] = [
  {
    why: "a mode of autoscaling that is none",
    object: deployment({ autoscaling: { mode: "Auto" } }),
    field: "spec.autoscaling.mode",
    says: 'supported values: "Off", "Advise", "Enforce", "External"',
  },
  {
    why: "a minimum of groups above their maximum",
    object: deployment({ autoscaling: { groups: { min: 5, max: 4 } } }),
    field: "spec.autoscaling.groups.min",
    says: "min is 5 but must be at most max, which is 4",
  },
  {
    why: "a minimum of groups above those of the spec, without a maximum",
    object: deployment({ prefill: { groups: 2 }, autoscaling: { groups: { min: 3 } } }),
    field: "spec.autoscaling.groups.min",
    says: "autoscaling.groups.min is 3 but must be at most autoscaling.groups.max (prefill.groups when absent), which is 2",
  },
  {
    why: "a minimum of decode ranks above those of the spec, without a maximum",
    object: deployment({ autoscaling: { decodeRanks: { min: 2 } } }),
    field: "spec.autoscaling.decodeRanks.min",
    says: "(decode.ranks when absent), which is 1",
  },
  {
    why: "a least degree above the largest",
    object: deployment({ autoscaling: { degree: { min: 4 } } }),
    field: "spec.autoscaling.degree",
    says: "autoscaling.degree.min is 4 but must be at most autoscaling.degree.max, which is 1",
  },
  {
    why: "a budget below the minimum of both roles",
    object: deployment({
      prefill: { sequenceParallel: { degree: 4 } },
      autoscaling: { gpuBudget: 4 },
    }),
    field: "spec.autoscaling.gpuBudget",
    says: "autoscaling.gpuBudget is 4 but the minimum of both roles takes 5 GPUs",
  },
  {
    why: "a ratio that crosses itself",
    object: deployment({ autoscaling: { prefillToDecodePercent: { min: 300, max: 200 } } }),
    field: "spec.autoscaling.prefillToDecodePercent.min",
    says: "min is 300 but must be at most max, which is 200",
  },
  {
    why: "a largest ratio that no size keeps",
    object: deployment({
      prefill: { sequenceParallel: { degree: 4 } },
      autoscaling: { prefillToDecodePercent: { max: 100 } },
    }),
    field: "spec.autoscaling.prefillToDecodePercent.max",
    says: "is 100, but 4 prefill ranks at least and 1 decode ranks at most are more than that",
  },
  {
    why: "a least ratio that no size keeps",
    object: deployment({ autoscaling: { prefillToDecodePercent: { min: 200 } } }),
    field: "spec.autoscaling.prefillToDecodePercent.min",
    says: "is 200, but 1 prefill ranks at most and 1 decode ranks at least are less than that",
  },
  {
    why: "scaling to zero while decisions are not acted upon",
    object: deployment({ autoscaling: { mode: "Advise", scaleToZero: { enabled: true } } }),
    field: "spec.autoscaling.mode",
    says: "autoscaling.mode is Advise but must be Enforce when autoscaling.scaleToZero.enabled is true",
  },
  {
    why: "length classes out of order",
    object: deployment({ slo: { classes } }),
    field: "spec.slo.classes",
    says: "classes must be in ascending order of upToTokens",
  },
];

export const refusals: Refusal[] = [...bounds, ...sections, ...degrees, ...objects, ...autoscaling];

/** The nearest objects that keep every rule. */
export const accepted: { why: string; object: object }[] = [
  {
    why: "bounds that leave just one size",
    object: deployment({
      prefill: { sequenceParallel: { degree: 4 } },
      slo: { classes: classes.toReversed() },
      autoscaling: { mode: "Enforce", gpuBudget: 5, prefillToDecodePercent: { min: 400, max: 400 } },
    }),
  },
  {
    why: "any number of GPUs on cpu",
    object: deployment({ engine: { backend: "cpu" }, prefill: { rank: gpus(3) } }),
  },
  {
    why: "GPUs as text that are the TP degree",
    object: deployment({
      prefill: { tensorParallel: { degree: 4 } },
      decode: { tensorParallel: { degree: 4 }, rank: gpus("4") },
    }),
  },
  {
    why: "TP that is a multiple of the key/value heads",
    object: deployment({
      model: { attentionHeads: 32, keyValueHeads: 4 },
      prefill: { tensorParallel: { degree: 8 } },
      decode: { tensorParallel: { degree: 8 } },
    }),
  },
  {
    why: "moves that share just enough bytes a second",
    object: deployment({ decode: { rebalance: { bytesPerSecond: 1048576 } } }),
  },
  {
    why: "kvGather with a degree that does not divide the heads",
    object: deployment({
      model: { attentionHeads: 9 },
      prefill: { sequenceParallel: { degree: 2, mode: "kvGather" } },
    }),
  },
  {
    why: "requests equal to limits in another unit",
    object: deployment({
      gateway: { resources: { requests: { memory: "1Gi" }, limits: { memory: "1024Mi" } } },
    }),
  },
];
