/**
 * Who speaks. A rank is named by a stable `rankId` (`<group>-<ordinal>`) and an `incarnation` (the pod's
 * UID); a message for a dead incarnation is refused, so that a late message can never reach its successor.
 */
import { z } from "zod";

export const role = z.enum(["prefill", "decode"]).describe("What a rank's group does");

export const rankRef = z
  .object({
    rankId: z.string().min(1).describe("Stable name of the rank: <group>-<ordinal>"),
    incarnation: z.string().min(1).describe("UID of the pod that plays the rank now"),
    address: z.string().min(1).describe("IP or host name that other pods reach the rank at"),
    controlPort: z.int().min(1).max(65535).describe("TCP port of the control API (HTTP)"),
    transferPort: z.int().min(1).max(65535).describe("TCP port that accepts KV pages"),
  })
  .describe("A rank and how to reach it");

export type Role = z.infer<typeof role>;
export type RankRef = z.infer<typeof rankRef>;
