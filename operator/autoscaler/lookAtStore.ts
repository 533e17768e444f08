/** Whether the state store takes the writes of this leader: asked by one, since a store may be read and not written. */
import { troubleOf } from "../../runtime/state/clusterState.ts";
import type { CSPSDeployment } from "../kube/object.ts";
import type { StoreTrouble } from "../planning/scaling/decision.ts";
import type { AutoscalerContext } from "./context.ts";

export async function lookAtStore(
  context: Pick<AutoscalerContext, "stateOf" | "fence">,
  deployment: CSPSDeployment,
): Promise<StoreTrouble | undefined> {
  const state = await context.stateOf(deployment);
  if (typeof state === "string") return { kind: "away", why: state };
  const answer = await state.advanceFence(context.fence());
  if (!answer.ok) return { kind: "away", why: troubleOf(answer) };
  if (answer.value === "accepted") return undefined;
  return { kind: "fenced", why: "another operator with a newer term decides on counts" };
}
