/** CSPSDeployment: the one object a user writes. A model behind an OpenAI-compatible endpoint. */
import { z } from "zod";
import { condition, engine, model, rankTemplate, resources, tensorParallel } from "./fields.ts";

export const sequenceParallel = z
  .object({
    degree: z.int().min(1).default(1).describe("Ranks of one prefill group"),
    minDegree: z.int().min(1).optional().describe("The group goes on serving with this many ranks when some are lost. Default: 1"),
    maxDegree: z.int().min(1).optional().describe("Upper bound for the autoscaler. Default: degree"),
    mode: z
      .enum(["auto", "allToAll", "kvGather"])
      .default("auto")
      .describe("How ranks exchange attention inputs: heads by all-to-all, or keys and values gathered; auto takes the one that moves fewer bytes"),
  })
  .describe("How one long prompt is spread over ranks");

export const prefill = z.object({
  groups: z.int().min(1).default(1).describe("Prefill groups; each serves whole prompts"),
  sequenceParallel: sequenceParallel.default({ degree: 1, mode: "auto" }),
  tensorParallel: tensorParallel.default({ degree: 1 }),
  rank: rankTemplate.optional(),
});

export const decode = z.object({
  ranks: z.int().min(1).default(1).describe("Ranks of the decode pool; a request's KV is spread over them"),
  minRanks: z.int().min(1).optional().describe("The pool goes on serving with this many ranks when some are lost. Default: 1"),
  tensorParallel: tensorParallel.default({ degree: 1 }),
  kvCacheMemory: z.string().optional().describe("Memory of one rank for KV pages, a quantity. Default: 512Mi on cpu; on cuda what the weights leave free"),
  rank: rankTemplate.optional(),
});

export const gateway = z.object({
  replicas: z.int().min(1).default(1),
  image: z.string().optional().describe("Gateway image; the operator's default when absent"),
  imagePullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).default("IfNotPresent"),
  resources: resources.optional(),
  serviceType: z.enum(["ClusterIP", "NodePort", "LoadBalancer"]).default("ClusterIP"),
  port: z.int().min(1).max(65535).default(8000).describe("Port of the Service"),
  apiKeysSecret: z.string().optional().describe("Secret whose values are the accepted API keys; absent: no key is asked for"),
});

export const stateStore = z.object({
  mode: z.enum(["Bundled", "External"]).default("Bundled").describe("Bundled: the operator runs one Redis for this deployment"),
  image: z.string().optional().describe("Redis image of the bundled store; the operator's default when absent"),
  resources: resources.optional(),
  urlSecret: z
    .object({ name: z.string().min(1), key: z.string().default("url") })
    .optional()
    .describe("External: Secret key with a redis:// or rediss:// URL"),
});

export const cspsDeploymentSpec = z.object({
  model,
  engine: engine.default({ imagePullPolicy: "IfNotPresent", backend: "cuda", dtype: "auto" }),
  prefill: prefill.default({ groups: 1, sequenceParallel: { degree: 1, mode: "auto" }, tensorParallel: { degree: 1 } }),
  decode: decode.default({ ranks: 1, tensorParallel: { degree: 1 } }),
  gateway: gateway.default({ replicas: 1, imagePullPolicy: "IfNotPresent", serviceType: "ClusterIP", port: 8000 }),
  stateStore: stateStore.default({ mode: "Bundled" }),
});

/** One decision of the operator: what it saw, what it chose, what it refused and why. */
export const decisionRecord = z.object({
  time: z.iso.datetime(),
  subject: z.string().describe("What was decided, for example placement of group/0"),
  choice: z.string().describe("A sentence"),
  refusals: z.array(z.string()).describe("Candidates that were refused, a sentence each"),
});

export const cspsDeploymentStatus = z.object({
  observedGeneration: z.int().optional(),
  conditions: z.array(condition).optional().meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] }),
  endpoint: z.string().optional().describe("URL of the OpenAI-compatible API inside the cluster"),
  groupsReady: z.string().optional().describe("Ready prefill groups of desired, for example 1/1"),
  degree: z.int().optional().describe("SP degree that the prefill groups serve with now"),
  decodeRanksReady: z.string().optional().describe("Ready decode ranks of desired, for example 2/2"),
  reason: z.string().optional().describe("Reason of the most telling condition, for the printer column"),
  decisions: z.array(decisionRecord).optional().describe("The last 10 decisions, newest first"),
});

export type CSPSDeploymentSpec = z.infer<typeof cspsDeploymentSpec>;
export type CSPSDeploymentStatus = z.infer<typeof cspsDeploymentStatus>;
export type DecisionRecord = z.infer<typeof decisionRecord>;
