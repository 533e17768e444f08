/** The few fields of Kubernetes objects that the scenarios look at. */
import { z } from "zod";

const metadata = z.object({
  name: z.string(),
  namespace: z.string().optional(),
  uid: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  creationTimestamp: z.string(),
});

const conditions = z
  .array(z.object({ type: z.string(), status: z.string(), reason: z.string(), message: z.string() }))
  .default([]);

export const podShape = z.object({
  metadata,
  spec: z.object({ nodeName: z.string().optional() }),
  status: z.object({
    phase: z.string(),
    podIP: z.string().optional(),
    conditions: z.array(z.object({ type: z.string(), status: z.string() })).default([]),
  }),
});

export const nodeShape = z.object({
  metadata,
  status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })) }),
});

export const deploymentShape = z.object({
  metadata,
  status: z
    .object({
      conditions,
      groupsReady: z.string().optional(),
      degree: z.int().optional(),
      decodeRanksReady: z.string().optional(),
      scale: z.looseObject({}).optional(),
    })
    .default({ conditions: [] }),
});

/** Of a node's kubelet, or of operators that one of them leads. */
export const leaseShape = z.object({
  spec: z.object({ holderIdentity: z.string(), renewTime: z.string() }),
});

export const eventShape = z.object({
  type: z.string().default(""),
  reason: z.string().default(""),
  message: z.string().default(""),
  involvedObject: z.object({ kind: z.string(), name: z.string() }),
});

export type Pod = z.infer<typeof podShape>;
export type Node = z.infer<typeof nodeShape>;
export type Deployment = z.infer<typeof deploymentShape>;

export function listOf<T extends z.ZodType>(item: T): z.ZodObject<{ items: z.ZodArray<T> }> {
  return z.object({ items: z.array(item) });
}

export function isReady(object: {
  status: { conditions: readonly { type: string; status: string }[] };
}): boolean {
  return object.status.conditions.some(
    (condition) => condition.type === "Ready" && condition.status === "True",
  );
}
