/** SPGroup and DecodePool seen as one kind of thing: a gang of rank pods. */
import type { DecodePoolSpec, SPGroupSpec } from "../../crds/schema/rankgroup.ts";
import type { DecodePool, SPGroup } from "../kube/object.ts";

export type GangObject = SPGroup | DecodePool;
export type GangRole = "prefill" | "decode";

/** What both specs have, and what only one has with the other's neutral value. */
export type GangDesign = Omit<SPGroupSpec, "ordinal" | "mode"> & {
  readonly role: GangRole;
  readonly name: string;
  readonly namespace: string;
  readonly mode: SPGroupSpec["mode"];
  readonly kvCacheMemory: string | undefined;
};

export function prefillDesign(group: SPGroup): GangDesign {
  return { ...group.spec, ...named(group), role: "prefill", kvCacheMemory: undefined };
}

export function decodeDesign(pool: DecodePool): GangDesign {
  const spec: DecodePoolSpec = pool.spec;
  return { ...spec, ...named(pool), role: "decode", mode: "auto", kvCacheMemory: spec.kvCacheMemory };
}

function named(gang: GangObject): { name: string; namespace: string } {
  return { name: gang.metadata.name, namespace: gang.metadata.namespace ?? "" };
}
