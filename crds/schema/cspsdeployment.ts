/** CSPSDeployment: the one object a user writes. A model behind an OpenAI-compatible endpoint. */
import { z } from "zod";
import { autoscaling, scale, slo } from "./autoscaling.ts";
import { autoscalingRules } from "./autoscalingRules.ts";
import {
  conditions,
  engine,
  imagePullPolicy,
  imageReference,
  memory,
  model,
  objectName,
  rankTemplate,
  resources,
  tensorParallel,
} from "./fields.ts";
import { degreeRules } from "./degreeRules.ts";
import { rebalance } from "./rebalance.ts";
import { atMost, rules, sentence } from "./rule.ts";
import { sparseAttention, sparseDecode } from "./sparseAttention.ts";

export const sequenceParallel = z
  .object({
    degree: z.int().min(1).max(512).default(1).describe("Ranks of one prefill group"),
    minDegree: z
      .int()
      .min(1)
      .optional()
      .describe("The group goes on serving with this many ranks when some are lost. Default: 1"),
    maxDegree: z.int().min(1).max(512).optional().describe("Upper bound for the autoscaler. Default: degree"),
    mode: z
      .enum(["auto", "allToAll", "kvGather"])
      .default("auto")
      .describe(
        "How ranks exchange attention inputs: heads by all-to-all, or keys and values gathered; auto takes the one that moves fewer bytes",
      ),
  })
  .describe("How one long prompt is spread over ranks")
  .meta(
    rules(atMost("minDegree", "degree"), {
      rule: "!has(self.maxDegree) || self.degree <= self.maxDegree",
      message: "degree must be at most maxDegree",
      messageExpression: sentence("degree is %d but must be at most maxDegree, which is %d", [
        "self.degree",
        "self.maxDegree",
      ]),
      fieldPath: ".degree",
    }),
  );

export const prefill = z
  .object({
    groups: z.int().min(1).max(1000).default(1).describe("Prefill groups; each serves whole prompts"),
    sequenceParallel: sequenceParallel.prefault({}),
    sparseAttention: sparseAttention.prefault({}),
    tensorParallel: tensorParallel.prefault({}),
    rank: rankTemplate.prefault({}),
  })
  .describe("The groups that read prompts");

export const decode = z
  .object({
    ranks: z
      .int()
      .min(1)
      .max(4096)
      .default(1)
      .describe("Ranks of the decode pool; a request's KV is spread over them"),
    minRanks: z
      .int()
      .min(1)
      .optional()
      .describe("The pool goes on serving with this many ranks when some are lost. Default: 1"),
    tensorParallel: tensorParallel.prefault({}),
    kvCacheMemory: memory
      .optional()
      .describe(
        "Memory of one rank for KV pages, a quantity. Default: 512Mi on cpu; on cuda what the weights leave free",
      ),
    sparseAttention: sparseDecode.prefault({}),
    rank: rankTemplate.prefault({}),
    rebalance: rebalance.prefault({}),
  })
  .describe("The pool that holds KV and produces tokens")
  .meta(rules(atMost("minRanks", "ranks")));

export const gateway = z
  .object({
    replicas: z.int().min(1).max(1000).default(1).describe("Gateway pods"),
    image: imageReference.optional().describe("Gateway image; the operator's default when absent"),
    imagePullPolicy,
    resources: resources.optional().describe("Of the gateway's container"),
    serviceType: z
      .enum(["ClusterIP", "NodePort", "LoadBalancer"])
      .default("ClusterIP")
      .describe("Type of the Service"),
    port: z.int().min(1).max(65535).default(8000).describe("Port of the Service"),
    apiKeysSecret: objectName
      .optional()
      .describe("Secret whose values are the accepted API keys; absent: no key is asked for"),
  })
  .describe("The OpenAI-compatible front door");

export const stateStore = z
  .object({
    mode: z
      .enum(["Bundled", "External"])
      .default("Bundled")
      .describe("Bundled: the operator runs one Redis for this deployment"),
    image: imageReference
      .optional()
      .describe("Redis image of the bundled store; the operator's default when absent"),
    resources: resources.optional().describe("Of the bundled store's container"),
    urlSecret: z
      .object({
        name: objectName.describe(
          "A Secret in the namespace; its key ca.crt, when present, holds the authority of a TLS server in PEM",
        ),
        key: z.string().min(1).max(253).default("url").describe("Key inside the Secret"),
      })
      .optional()
      .describe(
        "External: Secret key with a URL: redis://, redis+sentinel:// or redis+cluster://, or the same with rediss for TLS",
      ),
  })
  .describe("Redis for the cluster state; losing it stops no stream")
  .meta(
    rules(
      {
        rule: "self.mode != 'External' || has(self.urlSecret)",
        message: "urlSecret must be given when mode is External",
        fieldPath: ".mode",
      },
      {
        rule: "self.mode != 'Bundled' || !has(self.urlSecret)",
        message: "urlSecret must be absent when mode is Bundled; set mode to External to use it",
        fieldPath: ".urlSecret",
      },
    ),
  );

export const cspsDeploymentSpec = z
  .object({
    model,
    engine: engine.prefault({}),
    prefill: prefill.prefault({}),
    decode: decode.prefault({}),
    gateway: gateway.prefault({}),
    stateStore: stateStore.prefault({}),
    slo: slo.prefault({}),
    autoscaling: autoscaling.prefault({}),
  })
  .describe("What should run")
  .meta(rules(...degreeRules, ...autoscalingRules));

/** One decision of the operator: what it saw, what it chose, what it refused and why. */
export const decisionRecord = z
  .object({
    time: z.iso.datetime().describe("When it was taken"),
    subject: z.string().describe("What was decided, for example placement of group/0"),
    choice: z.string().describe("A sentence"),
    changed: z
      .boolean()
      .optional()
      .describe("It changed something, or advises to; such records outlive those that found nothing to do"),
    refusals: z.array(z.string()).describe("Candidates that were refused, a sentence each"),
    inputs: z
      .array(z.string())
      .optional()
      .describe("What it was taken from, with the age of each, a sentence each"),
  })
  .describe("One decision of the operator");

export const cspsDeploymentStatus = z
  .object({
    observedGeneration: z.int().optional().describe("Generation of the spec that the status speaks of"),
    conditions,
    endpoint: z.string().optional().describe("URL of the OpenAI-compatible API inside the cluster"),
    groupsReady: z.string().optional().describe("Ready prefill groups of desired, for example 1/1"),
    degree: z.int().optional().describe("SP degree that the prefill groups serve with now"),
    decodeRanksReady: z.string().optional().describe("Ready decode ranks of desired, for example 2/2"),
    reason: z.string().optional().describe("Reason of the most telling condition, for the printer column"),
    decisions: z
      .array(decisionRecord)
      .optional()
      .describe(
        "The last decisions, newest first, 16 at most: the newest about each subject and those that changed something stay longest",
      ),
    scale: scale.optional(),
  })
  .describe("What is running");

export type CSPSDeploymentSpec = z.infer<typeof cspsDeploymentSpec>;
export type CSPSDeploymentStatus = z.infer<typeof cspsDeploymentStatus>;
export type DecisionRecord = z.infer<typeof decisionRecord>;
