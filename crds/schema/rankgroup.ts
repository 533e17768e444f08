/**
 * SPGroup and DecodePool: owned by a CSPSDeployment, never written by users. Each is one gang of rank pods.
 * Their specs carry everything that a pod is made from, so that a group can be healed without its owner.
 */
import { z } from "zod";
import { condition, engine, model, rankTemplate, tensorParallel } from "./fields.ts";

const gang = {
  deployment: z.string().min(1).describe("Name of the owning CSPSDeployment"),
  revision: z.string().min(1).describe("Hash of what the pods are made from; KV never crosses revisions of another kvFormat"),
  ranks: z.int().min(1).describe("Ranks that the group should have"),
  minRanks: z.int().min(1).describe("Ranks that it needs to serve"),
  model,
  engine,
  tensorParallel,
  rank: rankTemplate,
  stateStoreSecret: z.string().min(1).describe("Secret with key `url`: the Redis of the deployment"),
  controlTokenSecret: z.string().min(1).describe("Secret with key `token`: bearer token of the control API"),
};

export const spGroupSpec = z.object({
  ...gang,
  ordinal: z.int().min(0).describe("Which group of the deployment"),
  mode: z.enum(["auto", "allToAll", "kvGather"]).describe("SP architecture"),
});

export const decodePoolSpec = z.object({
  ...gang,
  kvCacheMemory: z.string().optional().describe("Memory of one rank for KV pages"),
});

export const rankPlacement = z.object({
  rankId: z.string(),
  node: z.string().optional().describe("Node chosen for it; absent while it has no place"),
  podPhase: z.string(),
  enginePhase: z.string().describe("Phase that the engine reports; empty while it can't be asked"),
});

export const gangStatus = z.object({
  observedGeneration: z.int().optional(),
  conditions: z.array(condition).optional().meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] }),
  ranksReady: z.int().optional().describe("Ranks that are members of the present epoch"),
  epoch: z.int().optional(),
  domain: z.string().optional().describe("Topology domain that holds the group, for example rack=r1"),
  reason: z.string().optional(),
  rosterGeneration: z.int().optional(),
  ranks: z.array(rankPlacement).optional(),
  restarts: z.int().optional().describe("Rank pods replaced so far"),
});

export type SPGroupSpec = z.infer<typeof spGroupSpec>;
export type DecodePoolSpec = z.infer<typeof decodePoolSpec>;
export type GangStatus = z.infer<typeof gangStatus>;
