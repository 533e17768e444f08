/** Ranks that were asked for and do not serve yet. Those that found no room are not waited for: they may never come. */
import type { CSPSDeployment, DecodePool, SPGroup } from "../kube/object.ts";
import type { Size } from "../planning/scaling/decision.ts";
import type { AutoscalerContext } from "./context.ts";

export function pendingRanks(
  context: Pick<AutoscalerContext, "groups" | "pools">,
  { metadata }: CSPSDeployment,
  size: Size,
): number {
  const groups = context.groups.byIndex("owner", metadata.uid);
  const pool = context.pools.byIndex("owner", metadata.uid)[0];
  let pending = missing(pool, size.decodeRanks);
  for (let ordinal = 0; ordinal < size.groups; ordinal++) {
    const group = groups.find(({ spec }) => spec.ordinal === ordinal);
    pending += missing(group, size.groupSize);
  }
  return pending;
}

function missing(gang: SPGroup | DecodePool | undefined, wanted: number): number {
  if (gang !== undefined && hasNoRoom(gang)) return 0;
  return Math.max(0, wanted - (gang?.status?.ranksReady ?? 0));
}

function hasNoRoom(gang: SPGroup | DecodePool): boolean {
  const placed = gang.status?.conditions?.find(({ type }) => type === "TopologySatisfied");
  return placed?.status === "False";
}
