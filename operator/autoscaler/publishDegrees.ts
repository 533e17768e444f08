/** The degree table where gateways read it. Redis is soft: without it they route as if every degree were the same. */
import type { Scale } from "../../crds/schema/autoscaling.ts";
import type { CSPSDeployment } from "../kube/object.ts";
import type { AutoscalerContext } from "./context.ts";

/** A table outlives this many decisions: a leader that is replaced leaves no gap. */
const intervals = 10;
const leastMs = 60_000;

export async function publishDegrees(
  context: AutoscalerContext,
  deployment: CSPSDeployment,
  { scale, intervalMs }: { readonly scale: Scale; readonly intervalMs: number },
): Promise<void> {
  if (scale.degrees === undefined) return;
  const state = await context.stateOf(deployment);
  // A store that can't be reached is told of by the deployment's own condition.
  if (typeof state === "string") return;
  await state.putDegrees(scale.degrees, context.fence(), Math.max(leastMs, intervals * intervalMs));
}
