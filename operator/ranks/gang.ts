/** SPGroup and DecodePool seen as one kind of thing: a gang of rank pods. */
import type { DecodePoolSpec, SPGroupSpec } from "../../crds/schema/rankgroup.ts";
import type { DecodePool, SPGroup } from "../kube/object.ts";

export type GangObject = SPGroup | DecodePool;
export type GangRole = "prefill" | "decode";

/** What both specs have, and what only one has with the other's neutral value. */
export type GangDesign = Omit<SPGroupSpec, "ordinal" | "mode" | "sparseAttention"> & {
  readonly role: GangRole;
  readonly name: string;
  readonly namespace: string;
  readonly mode: SPGroupSpec["mode"];
  /** Of a prefill group. */
  readonly sparseAttention: SPGroupSpec["sparseAttention"] | undefined;
  /** Of a decode pool. */
  readonly sparseDecode: DecodePoolSpec["sparseAttention"] | undefined;
  readonly kvCacheMemory: string | undefined;
  /** Time that a rank has to hand over what it holds before it is deleted. */
  readonly drainSeconds: number;
};

/** A prefill rank hands over nothing: it finishes the prompts that it reads. */
const prefillDrainSeconds = 300;

export function prefillDesign(group: SPGroup): GangDesign {
  return {
    ...group.spec,
    ...named(group),
    role: "prefill",
    sparseDecode: undefined,
    kvCacheMemory: undefined,
    drainSeconds: prefillDrainSeconds,
  };
}

export function decodeDesign(pool: DecodePool): GangDesign {
  const spec: DecodePoolSpec = pool.spec;
  const { kvCacheMemory, rebalance, sparseAttention: sparseDecode } = spec;
  const own = {
    role: "decode",
    mode: "auto",
    sparseAttention: undefined,
    sparseDecode,
    kvCacheMemory,
  } as const;
  return { ...spec, ...named(pool), ...own, drainSeconds: rebalance.drainSeconds };
}

function named(gang: GangObject): { name: string; namespace: string } {
  return { name: gang.metadata.name, namespace: gang.metadata.namespace ?? "" };
}
