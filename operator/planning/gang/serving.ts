/** How far a gang is: the epoch that serves now, and the ranks that take part in it. */
import type { EngineReport, GangObservation } from "./observed.ts";

export interface Serving {
  /** 0 while no epoch serves. */
  readonly epoch: number;
  /** Ranks that serve in it and whose pods are Ready, in rank order. */
  readonly rankIds: readonly string[];
  /** Ranks that the epoch was formed of, whether or not their pods are Ready yet. */
  readonly members: readonly string[];
}

export function servingNow(observed: GangObservation): Serving {
  const newest = newestEpoch([...observed.engines.values()]);
  if (newest === undefined) return { epoch: 0, rankIds: [], members: [] };
  const ready = new Set(observed.pods.filter((pod) => pod.ready).map((pod) => pod.rankId));
  const rankIds = newest.epochMembers.filter((rankId) => {
    const engine = observed.engines.get(rankId);
    return engine?.phase === "serving" && engine.epoch === newest.epoch && ready.has(rankId);
  });
  return { epoch: newest.epoch, rankIds, members: newest.epochMembers };
}

function newestEpoch(engines: readonly EngineReport[]): EngineReport | undefined {
  return engines
    .filter((engine) => engine.phase === "serving")
    .reduce<EngineReport | undefined>(
      (top, one) => (top !== undefined && top.epoch >= one.epoch ? top : one),
      undefined,
    );
}
