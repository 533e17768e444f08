/**
 * SPGroup and DecodePool: owned by a CSPSDeployment, never written by users. Each is one gang of rank pods.
 * Their specs carry everything that a pod is made from, so that a group can be healed without its owner.
 */
import { z } from "zod";
import { decisionRecord } from "./cspsdeployment.ts";
import { conditions, engine, memory, model, objectName, rankTemplate, tensorParallel } from "./fields.ts";
import { rebalance } from "./rebalance.ts";
import { atMost, rules } from "./rule.ts";
import { sparseAttention, sparseDecode } from "./sparseAttention.ts";

const gang = {
  deployment: z.string().min(1).describe("Name of the owning CSPSDeployment"),
  revision: z
    .string()
    .min(1)
    .describe("Hash of what the pods are made from; KV never crosses revisions of another kvFormat"),
  ranks: z.int().min(1).describe("Ranks that the group should have"),
  minRanks: z.int().min(1).describe("Ranks that it needs to serve"),
  model,
  engine,
  tensorParallel,
  rank: rankTemplate,
  stateStoreSecret: objectName.describe("Secret with key `url`: the Redis of the deployment"),
  controlTokenSecret: objectName.describe("Secret with key `token`: bearer token of the control API"),
};

export const spGroupSpec = z
  .object({
    ...gang,
    ordinal: z.int().min(0).describe("Which group of the deployment"),
    mode: z.enum(["auto", "allToAll", "kvGather"]).describe("SP architecture"),
    sparseAttention: sparseAttention.prefault({}),
  })
  .describe("What the operator made of a deployment's prefill section, for one group")
  .meta(rules(atMost("minRanks", "ranks")));

export const decodePoolSpec = z
  .object({
    ...gang,
    kvCacheMemory: memory.optional().describe("Memory of one rank for KV pages"),
    sparseAttention: sparseDecode.prefault({}),
    rebalance: rebalance.prefault({}),
  })
  .describe("What the operator made of a deployment's decode section")
  .meta(rules(atMost("minRanks", "ranks")));

export const drainPhase = z
  .enum(["Cordon", "StopAdmission", "MigrateShards", "Confirm", "Delete"])
  .describe("How far a rank that leaves is");

export const rankDrain = z
  .object({
    phase: drainPhase,
    cause: z.enum(["ScaleIn", "Rollout", "NodeCordoned", "Asked"]).describe("Why it leaves"),
    since: z.iso.datetime().describe("When it was chosen"),
    deadline: z.iso.datetime().describe("When it is deleted whatever it still holds"),
    heldPages: z.int().describe("KV pages that it holds now"),
    pagesAtStart: z.int().optional().describe("KV pages that it held when it was chosen"),
    message: z.string().describe("What it waits for, a sentence"),
  })
  .describe("A rank that hands over what it holds before it is deleted");

export const rankPlacement = z
  .object({
    rankId: z.string().describe("<group>-<ordinal>, also the name of its pod"),
    node: z.string().optional().describe("Node chosen for it; absent while it has no place"),
    podPhase: z.string().describe("Phase of its pod; empty while there is none"),
    enginePhase: z.string().describe("Phase that the engine reports; empty while it can't be asked"),
    drain: rankDrain.optional().describe("Present while the rank is on its way out"),
  })
  .describe("One rank and where it is");

export const gangStatus = z
  .object({
    observedGeneration: z.int().optional().describe("Generation of the spec that the status speaks of"),
    conditions,
    ranksReady: z.int().optional().describe("Ranks that are members of the present epoch"),
    epoch: z.int().optional().describe("Number of the communicator that its ranks form now"),
    domain: z.string().optional().describe("Topology domain that holds the group, for example rack=r1"),
    reason: z.string().optional().describe("Reason of the most telling condition, for the printer column"),
    rosterGeneration: z
      .int()
      .optional()
      .describe("Generation of the last list of members that was sent to the ranks"),
    ranks: z.array(rankPlacement).optional().describe("Each rank, by ordinal"),
    restarts: z.int().optional().describe("Rank pods replaced so far"),
    rosterMembers: z
      .array(z.string())
      .optional()
      .describe("Members of the last roster, as rankId@incarnation"),
    failures: z
      .array(z.iso.datetime())
      .optional()
      .describe("When ranks failed within the restart window, oldest first"),
    lastFailure: z.string().optional().describe("Why the last rank failed"),
    decisions: z
      .array(decisionRecord)
      .optional()
      .describe(
        "The last decisions, newest first, 16 at most: the newest about each subject and those that changed something stay longest",
      ),
  })
  .describe("What is running of it");

export type SPGroupSpec = z.infer<typeof spGroupSpec>;
export type DecodePoolSpec = z.infer<typeof decodePoolSpec>;
export type DrainPhase = z.infer<typeof drainPhase>;
export type RankDrain = z.infer<typeof rankDrain>;
export type GangStatus = z.infer<typeof gangStatus>;
