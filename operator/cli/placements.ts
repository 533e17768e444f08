/**
 * Where the gangs of a deployment would lie: the operator's own planner on its own view of the cluster. Each gang
 * that has a place takes its room before the next is planned, by the very pods that the operator would make.
 */
import { keyOf, type OwnerReference, type Pod } from "../kube/object.ts";
import { rankIdOf } from "../planning/gang/observed.ts";
import { planPlacement } from "../planning/placement/place.ts";
import { desiredRankPod } from "../ranks/desired/rankPod.ts";
import { rankShape } from "../ranks/desired/rankShape.ts";
import type { GangDesign } from "../ranks/gang.ts";
import { labelKey, nodeAnnotation } from "../ranks/names.ts";
import { observeNeighbours } from "../ranks/observe.ts";
import type { CapacityView } from "./capacity.ts";
import type { DesignedGangs } from "./surroundings.ts";

export interface GangPlacement {
  readonly group: string;
  readonly role: GangDesign["role"];
  readonly ranks: number;
  readonly fits: boolean;
  readonly domain: string;
  readonly places: readonly { readonly rankId: string; readonly node: string }[];
  /** The planner's sentence: where and why, or how many fit and what is in the way. */
  readonly sentence: string;
  readonly refusals: readonly string[];
}

export interface DeploymentPlacement {
  readonly gangs: readonly GangPlacement[];
  /** Rank pods that run now and whose room was counted as free. */
  readonly replaced: number;
}

export function placeGangs(view: CapacityView, { gangs, owner }: DesignedGangs): DeploymentPlacement {
  const replaced = gangs.reduce((sum, gang) => sum + giveBackRoom(view, gang), 0);
  return { gangs: gangs.map((gang) => placeGang(view, gang, owner)), replaced };
}

/** A change replaces the ranks of the same groups. */
function giveBackRoom({ pods }: CapacityView, gang: GangDesign): number {
  const own = pods
    .list()
    .filter(
      ({ metadata }) =>
        metadata.namespace === gang.namespace && metadata.labels?.[labelKey.group] === gang.name,
    );
  for (const pod of own) pods.remove(keyOf(pod));
  return own.length;
}

function placeGang(view: CapacityView, gang: GangDesign, owner: OwnerReference): GangPlacement {
  const { required, preferred } = gang.rank.topology ?? {};
  const decision = planPlacement(view.cluster([required, preferred]), {
    ...{ shape: rankShape(gang, owner), ranks: gang.ranks, required, preferred, stayWith: [] },
    ...observeNeighbours(view, gang),
  });
  const nodes = decision.placed ? decision.nodes : [];
  nodes.forEach((node, ordinal) => {
    view.pods.upsert(plannedPod({ gang, owner, ordinal, node }));
  });
  return {
    group: gang.name,
    role: gang.role,
    ranks: gang.ranks,
    fits: decision.placed,
    domain: decision.placed ? decision.domain : "",
    places: nodes.map((node, ordinal) => ({ rankId: rankIdOf(gang.name, ordinal), node })),
    sentence: decision.choice,
    refusals: decision.refusals,
  };
}

interface PlannedRank {
  readonly gang: GangDesign;
  readonly owner: OwnerReference;
  readonly ordinal: number;
  readonly node: string;
}

function plannedPod({ gang, owner, ordinal, node }: PlannedRank): Pod {
  const desired = desiredRankPod({ design: gang, ordinal, owner });
  return {
    ...desired,
    metadata: {
      ...desired.metadata,
      annotations: { ...desired.metadata.annotations, [nodeAnnotation]: node },
      uid: `planned-${desired.metadata.name}`,
      resourceVersion: "",
      creationTimestamp: "",
    },
  };
}
