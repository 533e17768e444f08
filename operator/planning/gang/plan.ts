/**
 * The next step of a gang: which pods to make, remove and let go, and which roster to push. Stateless: it looks
 * at what there is and returns the next actions only, so a crash between any two of them is harmless.
 *
 *   1 leave   ranks that are to go are marked, and those marked hand over what they hold
 *   2 remove  pods that are over, have handed over, serve nothing and are not wanted, or are stuck on a lost node
 *   3 create  missing ranks, gated, unless the back-off or the restart budget says no
 *   4 place   all gated pods together, once every rank of the gang has a pod
 *   5 roster  the living ranks, pushed to those that hold an older one
 */
import { type DrainStep, planDrains } from "./drain.ts";
import { type Leaver, planLeavers } from "./leaving.ts";
import type { GangObservation, RankPod } from "./observed.ts";
import { rankIdOf } from "./observed.ts";
import { type Removal, planRemovals, type RemovalPolicy, defaultRemovalPolicy } from "./removal.ts";
import { defaultRestartPolicy, planRestart, type RestartPolicy } from "./restart.ts";
import { defaultRosterPolicy, planRoster, type RosterPlan, type RosterPolicy } from "./roster.ts";

export interface GangPolicy {
  readonly restart: RestartPolicy;
  readonly roster: RosterPolicy;
  readonly removal: RemovalPolicy;
}

export const defaultGangPolicy: GangPolicy = {
  restart: defaultRestartPolicy,
  roster: defaultRosterPolicy,
  removal: defaultRemovalPolicy,
};

export interface GangPlan {
  /** Pods to mark: they are to go. */
  readonly mark: readonly Leaver[];
  /** How far each marked rank is. */
  readonly drains: readonly DrainStep[];
  readonly remove: readonly Removal[];
  /** Ordinals of pods to create, gated. */
  readonly create: readonly number[];
  /** Gated pods to find a place for, all or none; empty: nothing to place yet. */
  readonly place: readonly RankPod[];
  /** Nodes of the ranks that have a place already. */
  readonly stayWith: readonly string[];
  readonly roster: RosterPlan | undefined;
  /** Creating waits for the back-off to end. */
  readonly backoffMs: number | undefined;
  /** The restart budget is spent: a sentence with the last exit reason. */
  readonly terminal: string | undefined;
}

/** `hasRoomElsewhere`: whether the rank of a cordoned node would find a place on another one. */
export function planGang(
  observed: GangObservation,
  policy: GangPolicy,
  hasRoomElsewhere: (pod: RankPod) => boolean = () => false,
): GangPlan {
  const { spec, pods } = observed;
  const remove = planRemovals(observed, policy.removal);
  const leaving = new Set(remove.map((removal) => removal.uid));
  const staying = pods.filter((pod) => !leaving.has(pod.uid) && pod.deletingForMs === undefined);
  const failures = [
    ...observed.memory.failuresMs,
    ...remove.filter((one) => one.failure !== undefined).map(() => observed.nowMs),
  ];
  const restart = planRestart(failures, observed.nowMs, policy.restart);

  const missing = missingOrdinals(observed);
  const mayCreate = restart.verdict === "Now";
  const gated = staying.filter((pod) => pod.gated);
  const placed = staying.filter((pod) => !pod.gated && pod.node !== undefined);
  // The first placement is for the whole gang; a replacement joins the ranks that live.
  const gangIsThere = staying.length >= spec.ranks || placed.length > 0;
  const survivors = pods.filter((pod) => !leaving.has(pod.uid));
  return {
    mark: planLeavers(observed, hasRoomElsewhere).filter(({ pod }) => !leaving.has(pod.uid)),
    drains: planDrains(observed),
    remove,
    create: mayCreate ? missing : [],
    place: gangIsThere ? gated : [],
    stayWith: [...new Set(placed.flatMap((pod) => pod.node ?? []))],
    roster: planRoster({ ...observed, pods: survivors }, policy.roster),
    backoffMs: missing.length > 0 && restart.verdict === "Wait" ? restart.forMs : undefined,
    terminal:
      missing.length > 0 && restart.verdict === "Exhausted"
        ? `${String(restart.failures)} ranks failed within ${String(policy.restart.windowMs / 60_000)} min; ` +
          `no more are made until the spec changes; the last one: ${lastFailure(observed, remove)}`
        : undefined,
  };
}

function lastFailure(observed: GangObservation, remove: readonly Removal[]): string {
  return remove.findLast((one) => one.failure !== undefined)?.failure ?? observed.memory.lastFailure;
}

/** Names that the ordinals of a plan stand for. */
export function rankIds(group: string, indexes: readonly number[]): readonly string[] {
  return indexes.map((ordinal) => rankIdOf(group, ordinal));
}

/** A pod that is still being deleted keeps its name and its place in the count: its successor waits. */
function missingOrdinals({ spec, pods }: GangObservation): readonly number[] {
  const present = pods.filter((pod) => pod.leaves?.cause !== "ScaleIn").length;
  const taken = new Set(pods.map((pod) => pod.ordinal));
  return Array.from({ length: spec.ranks + pods.length }, (_, ordinal) => ordinal)
    .filter((ordinal) => !taken.has(ordinal))
    .slice(0, Math.max(0, spec.ranks - present));
}
