/**
 * Which ranks of a gang should leave it, and which of them hand over what they hold before.
 *
 *   ScaleIn        more ranks than the spec says: those whose emptying moves the fewest bytes, and of equals not the
 *                  coordinator, then the highest ordinal
 *   Rollout        a decode rank of another revision: one at a time, while all others are up
 *   NodeCordoned   its node takes no new pods, and another node has room for it: one at a time
 *   Asked          somebody marked its pod
 *
 * A rank that serves nothing goes at once. A prefill rank of another revision or beyond the size does too: it holds no
 * KV, and finishes its prompt when its pod is asked to end.
 */
import type { DrainCause, EngineReport, GangObservation, RankPod } from "./observed.ts";

export interface Leaver {
  readonly pod: RankPod;
  readonly cause: DrainCause;
}

const inPool: readonly string[] = ["serving", "draining", "drained"];

/** It takes part in what the gang serves, so that it has to be let go in order. */
export function takesPart(pod: RankPod, { engines }: Pick<GangObservation, "engines">): boolean {
  const engine = engines.get(pod.rankId);
  if (engine === undefined) return false;
  return inPool.includes(engine.phase) || (engine.phase === "forming" && engine.heldPages > 0);
}

/** Ranks beyond the size, by uid, whether they take part or not. */
export function surplusRanks(observed: GangObservation): readonly RankPod[] {
  const staying = observed.pods.filter(
    (pod) => pod.deletingForMs === undefined && pod.leaves?.cause !== "ScaleIn",
  );
  const count = Math.max(0, staying.length - observed.spec.ranks);
  return [...staying].sort((a, b) => compareLeavers(a, b, observed)).slice(0, count);
}

/** Pods to mark now. `hasRoomElsewhere`: whether a rank would find a place on another node. */
export function planLeavers(
  observed: GangObservation,
  hasRoomElsewhere: (pod: RankPod) => boolean,
): readonly Leaver[] {
  const { spec, pods } = observed;
  const unmarked = pods.filter(
    (pod) => pod.leaves === undefined && pod.deletingForMs === undefined && takesPart(pod, observed),
  );
  const surplus = new Set(surplusRanks(observed).map((pod) => pod.uid));
  if (spec.role === "decode") {
    const beyond = unmarked.filter((pod) => surplus.has(pod.uid));
    if (beyond.length > 0) return beyond.map((pod) => ({ pod, cause: "ScaleIn" }));
    const outdated = unmarked
      .filter((pod) => pod.revision !== spec.revision)
      .sort((a, b) => compareLeavers(a, b, observed))[0];
    if (outdated !== undefined && othersAreUp(outdated, observed))
      return [{ pod: outdated, cause: "Rollout" }];
  }
  if (pods.some((pod) => pod.leaves !== undefined)) return [];
  const cordoned = unmarked.find((pod) => pod.cordoned && !surplus.has(pod.uid));
  return cordoned !== undefined && hasRoomElsewhere(cordoned)
    ? [{ pod: cordoned, cause: "NodeCordoned" }]
    : [];
}

/** A successor that has not come up yet is waited for before the next rank leaves. */
function othersAreUp(pod: RankPod, { pods, engines, spec }: GangObservation): boolean {
  const others = pods.filter((one) => one.uid !== pod.uid);
  return others.length >= spec.ranks - 1 && others.every((one) => isUp(one, engines.get(one.rankId)));
}

function isUp(pod: RankPod, engine: EngineReport | undefined): boolean {
  const loaded = engine !== undefined && engine.phase !== "loading" && engine.phase !== "failed";
  return loaded && pod.deletingForMs === undefined && pod.leaves === undefined;
}

function compareLeavers(a: RankPod, b: RankPod, observed: GangObservation): number {
  for (const [left, right] of zip(rankOf(a, observed), rankOf(b, observed)))
    if (left !== right) return left - right;
  return 0;
}

/** Who has the lowest numbers, read from the left, leaves first. */
function rankOf(pod: RankPod, observed: GangObservation): readonly number[] {
  const engine = observed.engines.get(pod.rankId);
  return [
    takesPart(pod, observed) ? 1 : 0,
    pod.revision === observed.spec.revision ? 1 : 0,
    pod.cordoned ? 0 : 1,
    observed.emptyingBytes.get(pod.rankId) ?? engine?.heldPages ?? 0,
    engine?.coordinator === pod.rankId ? 1 : 0,
    -pod.ordinal,
  ];
}

function zip(left: readonly number[], right: readonly number[]): readonly (readonly [number, number])[] {
  return left.map((one, index) => [one, right[index] ?? 0]);
}
