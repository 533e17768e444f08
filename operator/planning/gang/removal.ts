/** Which rank pods must go, and why. An ordered list of rules; the first that applies names the reason. */
import type { GangObservation, RankPod } from "./observed.ts";

export interface RemovalPolicy {
  /** A pod on a lost node that is still being deleted after this long is struck from the API. */
  readonly lostNodeMs: number;
  /** A pod that was let go but can't be scheduled for this long gives its place back. */
  readonly unschedulableMs: number;
}

export const defaultRemovalPolicy: RemovalPolicy = { lostNodeMs: 30_000, unschedulableMs: 30_000 };

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
    | "Stranded";
  /** Strike it without waiting for the kubelet. */
  readonly force: boolean;
  /** Counts against the restart budget; why the pod failed. */
  readonly failure: string | undefined;
}

type Rule = (
  pod: RankPod,
  observed: GangObservation,
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
  (pod, { spec }) =>
    pod.deletingForMs === undefined && pod.ordinal >= spec.ranks
      ? { reason: "BeyondSize", force: false }
      : undefined,
  (pod, { spec }) =>
    pod.deletingForMs === undefined && pod.revision !== spec.revision
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
  return observed.pods.flatMap((pod) => {
    for (const rule of rules) {
      const verdict = rule(pod, observed, policy);
      if (verdict === undefined) continue;
      return [
        { rankId: pod.rankId, uid: pod.uid, ...verdict, failure: failureOf(verdict.reason, pod, observed) },
      ];
    }
    return [];
  });
}

function failureOf(reason: Removal["reason"], pod: RankPod, observed: GangObservation): string | undefined {
  if (reason === "Failed") return pod.exitReason ?? "the pod failed";
  if (reason === "EngineFailed") return observed.engines.get(pod.rankId)?.reason ?? "the engine failed";
  return undefined;
}
