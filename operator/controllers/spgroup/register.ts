/** SPGroups: gangs whose ranks form a prefill world. */
import type { Controller } from "../../kube/controller.ts";
import type { SPGroup } from "../../kube/object.ts";
import type { Telemetry } from "../../kube/telemetry.ts";
import type { GangContext } from "../../ranks/context.ts";
import { prefillDesign } from "../../ranks/gang.ts";
import { type GangKind, registerGangs } from "../../ranks/register.ts";

export type GroupSources = Pick<GangKind<SPGroup>, "gangs" | "pods" | "nodes">;

export function registerGroups(
  context: GangContext,
  sources: GroupSources,
  telemetry: Telemetry,
): Controller {
  const kind = { ...sources, name: "spgroup", kind: "SPGroup", designOf: prefillDesign };
  return registerGangs<SPGroup>(context, kind, telemetry);
}
