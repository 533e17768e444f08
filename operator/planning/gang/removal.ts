/** Which rank pods must go now, and why. An ordered list of rules; the first that applies names the reason. */
import { planDrains } from "./drain.ts";
import { surplusRanks, takesPart } from "./leaving.ts";
import type { GangObservation, RankPod } from "./observed.ts";

export interface RemovalPolicy {
  /** A pod on a lost node that is still being deleted after this long is struck from the API. */
  readonly lostNodeMs: number;
  /** A pod that was let go but can't be scheduled for this long gives its place back. */
  readonly unschedulableMs: number;
}

export const defaultRemovalPolicy: RemovalPolicy = { lostNodeMs: 30_000, unschedulableMs: 30_000 };

/** A rank whose engine has not answered for less than this is not taken for one that holds nothing. */
const momentMs = 15_000;

export interface Removal {
  readonly rankId: string;
  readonly uid: string;
  readonly reason:
    | "Failed"
    | "EngineFailed"
    | "Finished"
    | "OtherRevision"
    | "BeyondSize"
    | "NodeLost"
    | "Unschedulable"
    | "Drained"
    | "Stranded";
  /** Strike it without waiting for the kubelet. */
  readonly force: boolean;
  /** Counts against the restart budget; why the pod failed. */
  readonly failure: string | undefined;
}

interface Looked extends GangObservation {
  /** Uids of ranks beyond the size, and of those whose drain has come to its end. */
  readonly surplus: ReadonlySet<string>;
  readonly drained: ReadonlySet<string>;
}

type Rule = (
  pod: RankPod,
  observed: Looked,
  policy: RemovalPolicy,
) => Pick<Removal, "reason" | "force"> | undefined;

const rules: readonly Rule[] = [
  // Its kubelet can't confirm the deletion, and until the name is free no successor can exist.
  (pod, _, policy) =>
    !pod.nodeReady && (pod.deletingForMs ?? 0) >= policy.lostNodeMs
      ? { reason: "NodeLost", force: true }
      : undefined,
  (pod) =>
    pod.deletingForMs === undefined && pod.phase === "Failed"
      ? { reason: "Failed", force: false }
      : undefined,
  (pod, { engines }) =>
    pod.deletingForMs === undefined && engines.get(pod.rankId)?.phase === "failed"
      ? { reason: "EngineFailed", force: false }
      : undefined,
  (pod) =>
    pod.deletingForMs === undefined && pod.phase === "Succeeded"
      ? { reason: "Finished", force: false }
      : undefined,
  (pod, { drained }) => (drained.has(pod.uid) ? { reason: "Drained", force: false } : undefined),
  (pod, observed) =>
    observed.surplus.has(pod.uid) && goesAtOnce(pod, observed)
      ? { reason: "BeyondSize", force: false }
      : undefined,
  (pod, observed) =>
    pod.deletingForMs === undefined &&
    pod.revision !== observed.spec.revision &&
    pod.leaves === undefined &&
    goesAtOnce(pod, observed)
      ? { reason: "OtherRevision", force: false }
      : undefined,
  (pod, _, policy) =>
    pod.deletingForMs === undefined &&
    !pod.bound &&
    (pod.unschedulableForMs ?? 0) >= policy.unschedulableMs &&
    !pod.gated
      ? { reason: "Unschedulable", force: false }
      : undefined,
];

export function planRemovals(observed: GangObservation, policy: RemovalPolicy): readonly Removal[] {
  const looked: Looked = {
    ...observed,
    surplus: new Set(surplusRanks(observed).map((pod) => pod.uid)),
    drained: new Set(
      planDrains(observed)
        .filter((step) => step.phase === "Delete")
        .map((step) => step.uid),
    ),
  };
  return observed.pods.flatMap((pod) => {
    for (const rule of rules) {
      const verdict = rule(pod, looked, policy);
      if (verdict === undefined) continue;
      return [
        { rankId: pod.rankId, uid: pod.uid, ...verdict, failure: failureOf(verdict.reason, pod, observed) },
      ];
    }
    return [];
  });
}

/** A decode rank that takes part, or did a moment ago, hands over first: see leaving.ts. */
function goesAtOnce(pod: RankPod, observed: GangObservation): boolean {
  if (observed.spec.role === "prefill") return true;
  const { memory, silentForMs } = observed;
  const member = memory.rosterMembers.some((one) => one.incarnation === pod.uid);
  const silent = member && (silentForMs.get(pod.rankId) ?? Infinity) < momentMs;
  return !takesPart(pod, observed) && !silent;
}

function failureOf(reason: Removal["reason"], pod: RankPod, observed: GangObservation): string | undefined {
  if (reason === "Failed") return pod.exitReason ?? "the pod failed";
  if (reason === "EngineFailed") return observed.engines.get(pod.rankId)?.reason ?? "the engine failed";
  return undefined;
}
