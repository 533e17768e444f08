/**
 * A gang that is stranded moves: its living ranks are too few to serve, and there is no room beside them, but the
 * whole gang would fit elsewhere. Ranks that still serve are never given up for a better place.
 */
import type { PlacementDecision } from "../placement/place.ts";
import type { GangObservation } from "./observed.ts";
import type { Removal } from "./removal.ts";
import type { GangPlan } from "./plan.ts";

export interface Stranding {
  readonly observed: GangObservation;
  readonly plan: GangPlan;
  /** Of the gated ranks beside the living ones. */
  readonly placement: PlacementDecision | undefined;
  /** Of the whole gang, anywhere; asked only when it matters. */
  readonly placeAll: () => PlacementDecision;
}

/** Ranks to give up so that the whole gang can be placed anew; empty when it should stay. */
export function planRelocation({ observed, plan, placement, placeAll }: Stranding): readonly Removal[] {
  if (placement?.placed !== false || placement.reason !== "NoRoomBesideGroup") return [];
  const leaving = new Set(plan.remove.map((removal) => removal.uid));
  const living = observed.pods.filter(
    (pod) => !pod.gated && pod.deletingForMs === undefined && !leaving.has(pod.uid),
  );
  if (living.length >= observed.spec.minRanks || !placeAll().placed) return [];
  return living.map(({ rankId, uid }) => ({
    rankId,
    uid,
    reason: "Stranded",
    force: false,
    failure: undefined,
  }));
}
