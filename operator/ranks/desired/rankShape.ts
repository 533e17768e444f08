/** What placement must know of a gang's pods, read from the very pod that will be created. */
import type { RankShape } from "../../planning/placement/eligibility.ts";
import { podRequest } from "../../planning/topology/podRequest.ts";
import type { OwnerReference } from "../../kube/object.ts";
import type { GangDesign } from "../gang.ts";
import { desiredRankPod } from "./rankPod.ts";

export function rankShape(design: GangDesign, owner: OwnerReference): RankShape {
  const { spec } = desiredRankPod({ design, ordinal: 0, owner });
  return {
    request: spec === undefined ? {} : podRequest(spec),
    nodeSelector: spec?.nodeSelector ?? {},
    tolerations: spec?.tolerations ?? [],
  };
}
