/** Field shapes that several kinds share. Descriptions become the API reference and `kubectl explain`. */
import { z } from "zod";

/** A Kubernetes quantity, e.g. 500m, 2Gi. */
export const quantity = z
  .union([z.string(), z.int()])
  .meta({ "x-kubernetes-int-or-string": true })
  .describe("Kubernetes quantity, for example 500m or 2Gi");

export const resources = z
  .object({
    requests: z.record(z.string(), quantity).optional().describe("What the scheduler sets aside"),
    limits: z.record(z.string(), quantity).optional().describe("What the container may use at most"),
  })
  .describe("Resources of one container, as in a pod");

export const toleration = z.object({
  key: z.string().optional(),
  operator: z.enum(["Exists", "Equal"]).optional(),
  value: z.string().optional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
  tolerationSeconds: z.int().optional(),
});

export const condition = z
  .object({
    type: z.string(),
    status: z.enum(["True", "False", "Unknown"]),
    reason: z.string(),
    message: z.string(),
    observedGeneration: z.int().optional(),
    lastTransitionTime: z.iso.datetime(),
  })
  .describe("Standard Kubernetes condition");

/** Level names of the default topology, narrow to broad; a ClusterTopology can name others later. */
export const topologyConstraint = z
  .object({
    required: z.string().optional().describe("Level that must hold the whole group: accelerator, host, rack, zone, or a node label key"),
    preferred: z.string().optional().describe("Level that should hold the whole group; broader levels are tried after it"),
  })
  .describe("Where the ranks of one group may lie relative to each other. Default: the smallest domain that holds them");

export const tensorParallel = z.object({
  degree: z.int().min(1).default(1).describe("GPUs of one rank that split heads and matrices; always inside one node"),
});

export const modelSource = z
  .object({
    image: z
      .object({
        reference: z.string().min(1).describe("OCI image that carries the model files"),
        path: z.string().default("/model").describe("Folder inside the image"),
        pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).default("IfNotPresent"),
      })
      .optional(),
    persistentVolumeClaim: z
      .object({
        claimName: z.string().min(1),
        path: z.string().default("").describe("Folder inside the volume"),
      })
      .optional(),
  })
  .describe("Where the weights and the tokenizer come from: exactly one of image, persistentVolumeClaim");

export const model = z.object({
  name: z.string().min(1).max(253).describe("Name that clients put in the OpenAI `model` field"),
  source: modelSource,
  contextLength: z.int().min(64).max(16777216).describe("Prompt plus output tokens of one request; one limit for prefill and decode"),
  attentionHeads: z.int().min(1).optional().describe("Query heads of the model; lets the API server check degrees against it"),
  keyValueHeads: z.int().min(1).optional().describe("Key/value heads of the model"),
});

export const engine = z.object({
  image: z.string().optional().describe("Engine image; the operator's default for the backend when absent"),
  imagePullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).default("IfNotPresent"),
  backend: z.enum(["cpu", "cuda"]).default("cuda").describe("Device and collectives: cuda with NCCL, or cpu with gloo"),
  dtype: z.enum(["auto", "float32", "bfloat16", "float16"]).default("auto").describe("auto: bfloat16 on cuda, float32 on cpu"),
});

/** Everything that a rank's pod is made from; the same for prefill and decode. */
export const rankTemplate = z
  .object({
    resources: resources.optional().describe("Of one rank's engine container"),
    nodeSelector: z.record(z.string(), z.string()).optional(),
    tolerations: z.array(toleration).optional(),
    topology: topologyConstraint.optional(),
    priorityClassName: z.string().optional(),
    terminationGracePeriodSeconds: z.int().min(0).default(60),
  })
  .describe("How the pods of the ranks look");
