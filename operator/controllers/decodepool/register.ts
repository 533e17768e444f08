/** DecodePools: gangs whose ranks hold the KV of running requests. */
import type { Controller } from "../../kube/controller.ts";
import type { DecodePool } from "../../kube/object.ts";
import type { Telemetry } from "../../kube/telemetry.ts";
import type { GangContext } from "../../ranks/context.ts";
import { decodeDesign } from "../../ranks/gang.ts";
import { type GangKind, registerGangs } from "../../ranks/register.ts";

export type PoolSources = Pick<GangKind<DecodePool>, "gangs" | "pods" | "nodes">;

export function registerPools(context: GangContext, sources: PoolSources, telemetry: Telemetry): Controller {
  const kind = { ...sources, name: "decodepool", kind: "DecodePool", designOf: decodeDesign };
  return registerGangs<DecodePool>(context, kind, telemetry);
}
