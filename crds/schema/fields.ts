/** Field shapes that several kinds share. Descriptions become the API reference and `kubectl explain`. */
import { z } from "zod";
import { rules, sentence } from "./rule.ts";

/** What the API server itself takes for a quantity. */
const quantityPattern =
  /^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$/;

/** A Kubernetes quantity, e.g. 500m, 2Gi. */
export const quantity = z
  .union([z.string().max(64).regex(quantityPattern), z.int()])
  .meta({ "x-kubernetes-int-or-string": true })
  .describe("Kubernetes quantity, for example 500m or 2Gi");

/** The same where only text makes sense: a bare number of bytes is given as text. */
export const memory = z
  .string()
  .max(64)
  .regex(/^[0-9]+(\.[0-9]+)?(([KMGTPE]i)|[kMGTPE])?$/);

/** Name of another object in the namespace. */
export const objectName = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);

export const imageReference = z.string().min(1).max(1024);
export const imagePullPolicy = z
  .enum(["Always", "IfNotPresent", "Never"])
  .default("IfNotPresent")
  .describe("As in a pod");

const quantities = z.record(z.string(), quantity).meta({ maxProperties: 16 });

export const resources = z
  .object({
    requests: quantities.optional().describe("What the scheduler sets aside"),
    limits: quantities.optional().describe("What the container may use at most"),
  })
  .describe("Resources of one container, as in a pod")
  .meta(
    rules(
      {
        rule: "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
        message: "requests must be at most limits, for each resource",
        fieldPath: ".requests",
      },
      {
        rule: "!has(self.requests) || self.requests.all(name, !name.contains('/') || (has(self.limits) && name in self.limits && quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) == 0))",
        message: "a device, such as nvidia.com/gpu, must be in limits, with the same number as in requests",
        fieldPath: ".requests",
      },
    ),
  );

export const toleration = z
  .object({
    key: z.string().max(316).optional().describe("Key of the taint; absent: all keys"),
    operator: z.enum(["Exists", "Equal"]).optional().describe("Equal when absent"),
    value: z.string().max(63).optional().describe("Value of the taint, with Equal"),
    effect: z
      .enum(["NoSchedule", "PreferNoSchedule", "NoExecute"])
      .optional()
      .describe("Effect of the taint; absent: all effects"),
    tolerationSeconds: z
      .int()
      .optional()
      .describe("How long a NoExecute taint is put up with; absent: for ever"),
  })
  .describe("A taint that the pods put up with, as in a pod")
  .meta(
    rules(
      {
        rule: "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
        message: "operator must be Exists when key is absent",
      },
      {
        rule: "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
        message: "value must be absent when operator is Exists",
      },
      {
        rule: "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        message: "effect must be NoExecute when tolerationSeconds is given",
      },
    ),
  );

export const condition = z
  .object({
    type: z.string().max(316).describe("What the condition is about, for example Available"),
    status: z.enum(["True", "False", "Unknown"]).describe("Whether it holds"),
    reason: z.string().max(1024).describe("Why, one word from a closed list"),
    message: z.string().max(32768).describe("Why, a sentence that a person can act on"),
    observedGeneration: z.int().optional().describe("Generation of the spec that it speaks of"),
    lastTransitionTime: z.iso.datetime().describe("When the status last changed"),
  })
  .describe("Standard Kubernetes condition");

/** Of a status; one entry for each type. */
export const conditions = z
  .array(condition)
  .optional()
  .describe("What is true of the object now, and why")
  .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] });

/** Level names of the default topology are narrow to broad; any other name is taken for a node label key. */
export const topologyConstraint = z
  .object({
    required: z
      .string()
      .min(1)
      .max(317)
      .optional()
      .describe(
        "Level that must hold the whole group: host, accelerator, rack, spine, core, zone, region, or a node label key",
      ),
    preferred: z
      .string()
      .min(1)
      .max(317)
      .optional()
      .describe("Level that should hold the whole group; broader levels are tried after it"),
  })
  .describe(
    "Where the ranks of one group may lie relative to each other. Default: the smallest domain that holds them",
  );

export const tensorParallel = z
  .object({
    degree: z
      .int()
      .min(1)
      .max(128)
      .default(1)
      .describe("GPUs of one rank that split heads and matrices; always inside one node"),
  })
  .describe("How one rank is split over GPUs");

export const modelSource = z
  .object({
    image: z
      .object({
        reference: imageReference.describe("OCI image that carries the model files"),
        path: z
          .string()
          .max(1024)
          .regex(/^\/[^\s]*$/)
          .default("/model")
          .describe("Folder inside the image, an absolute path"),
        pullPolicy: imagePullPolicy,
      })
      .optional()
      .describe("An image whose folder is copied into each rank's pod before the engine starts"),
    persistentVolumeClaim: z
      .object({
        claimName: objectName.describe("A claim in the namespace, readable by all ranks at once"),
        path: z
          .string()
          .max(1024)
          .regex(/^([^/\s][^\s]*)?$/)
          .default("")
          .describe("Folder inside the volume, a relative path"),
      })
      .optional()
      .describe("A volume that each rank's pod mounts read-only"),
  })
  .describe("Where the weights and the tokenizer come from: exactly one of image, persistentVolumeClaim")
  .meta(
    rules({
      rule: "has(self.image) != has(self.persistentVolumeClaim)",
      message: "exactly one of image and persistentVolumeClaim must be given",
      messageExpression:
        "'exactly one of image and persistentVolumeClaim must be given, ' + (has(self.image) ? 'both are' : 'none is')",
    }),
  );

export const model = z
  .object({
    name: z.string().min(1).max(253).describe("Name that clients put in the OpenAI `model` field"),
    source: modelSource,
    contextLength: z
      .int()
      .min(64)
      .max(16777216)
      .describe("Prompt plus output tokens of one request; one limit for prefill and decode"),
    attentionHeads: z
      .int()
      .min(1)
      .max(65536)
      .optional()
      .describe("Query heads of the model; lets the API server check degrees against it"),
    keyValueHeads: z.int().min(1).max(65536).optional().describe("Key/value heads of the model"),
  })
  .describe("The model and what it is called")
  .meta(
    rules({
      rule: "!has(self.attentionHeads) || !has(self.keyValueHeads) || self.attentionHeads % self.keyValueHeads == 0",
      message: "keyValueHeads must divide attentionHeads",
      messageExpression: sentence("keyValueHeads is %d but must divide attentionHeads, which is %d", [
        "self.keyValueHeads",
        "self.attentionHeads",
      ]),
      fieldPath: ".keyValueHeads",
    }),
  );

export const engine = z
  .object({
    image: imageReference
      .optional()
      .describe("Engine image; the operator's default for the backend when absent"),
    imagePullPolicy,
    backend: z
      .enum(["cpu", "cuda"])
      .default("cuda")
      .describe("Device and collectives: cuda with NCCL, or cpu with gloo"),
    dtype: z
      .enum(["auto", "float32", "bfloat16", "float16"])
      .default("auto")
      .describe("Number format of weights and KV. auto: bfloat16 on cuda, float32 on cpu"),
  })
  .describe("The program that a rank runs");

/** Everything that a rank's pod is made from; the same for prefill and decode. */
export const rankTemplate = z
  .object({
    resources: resources.optional().describe("Of one rank's engine container"),
    nodeSelector: z
      .record(z.string(), z.string().max(63))
      .meta({ maxProperties: 32 })
      .optional()
      .describe("Labels that a node must have to be considered at all"),
    tolerations: z.array(toleration).max(32).optional().describe("Taints that the ranks put up with"),
    topology: topologyConstraint.optional(),
    priorityClassName: objectName.optional().describe("As in a pod"),
    terminationGracePeriodSeconds: z
      .int()
      .min(0)
      .max(86400)
      .default(60)
      .describe("Time that a rank has to finish what it is doing when its pod is deleted"),
  })
  .describe("How the pods of the ranks look");
