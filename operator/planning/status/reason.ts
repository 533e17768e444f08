/** Closed lists: the condition types and the reasons that they may carry. */

import type { ScalingReason } from "../scaling/decision.ts";

export const gangConditionTypes = [
  "Available",
  "Progressing",
  "Degraded",
  "TopologySatisfied",
  "EnginesReady",
] as const;
export const deploymentConditionTypes = [
  ...gangConditionTypes,
  "StateStoreReachable",
  "AutoscalingActive",
] as const;

export type ConditionType = (typeof deploymentConditionTypes)[number];

export type Reason =
  // Available
  | "Serving"
  | "NotServing"
  // Progressing
  | "Settled"
  | "Creating"
  | "Placing"
  | "Starting"
  | "FormingEpoch"
  | "Replacing"
  | "Draining"
  | "RollingOut"
  | "RestartBackoff"
  | "RestartBudgetSpent"
  // Degraded
  | "AllRanksServe"
  | "RanksMissing"
  | "NothingServesYet"
  // TopologySatisfied
  | "Placed"
  | "Waiting"
  | "UnknownLevel"
  | "NoRoom"
  | "NoRoomBesideGroup"
  | "GateTimedOut"
  // EnginesReady
  | "EpochFormed"
  | "EnginesLoading"
  | "EnginesSilent"
  | "RosterIncomplete"
  // StateStoreReachable
  | "Answering"
  | "Unreachable"
  | "NotProbed"
  // AutoscalingActive; ScaledToZero is Available's too
  | ScalingReason
  | "External"
  // a spec that passed the API server and still can't be reconciled
  | "InvalidSpec";

export interface ConditionDraft {
  readonly type: ConditionType;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: Reason;
  readonly message: string;
}

export interface Condition extends ConditionDraft {
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
}

interface Earlier {
  readonly type: string;
  readonly status: string;
  readonly lastTransitionTime: string;
}

/** Conditions as they are written: the time changes only when the status does. */
export function stampConditions(
  drafts: readonly ConditionDraft[],
  earlier: readonly Earlier[],
  stamp: { readonly observedGeneration: number; readonly now: string },
): readonly Condition[] {
  return drafts.map((one) => {
    const same = earlier.find((old) => old.type === one.type && old.status === one.status);
    const lastTransitionTime = same?.lastTransitionTime ?? stamp.now;
    return { ...one, observedGeneration: stamp.observedGeneration, lastTransitionTime };
  });
}

/** The reason of the condition that tells a reader most, for the printer column. */
export function tellingReason(conditions: readonly ConditionDraft[]): Reason {
  const order: readonly (readonly [ConditionType, string])[] = [
    ["TopologySatisfied", "False"],
    ["Degraded", "True"],
    ["Progressing", "True"],
    ["Available", "False"],
    ["StateStoreReachable", "False"],
    ["Available", "True"],
  ];
  for (const [type, status] of order) {
    const found = conditions.find((one) => one.type === type && one.status === status);
    if (found !== undefined) return found.reason;
  }
  return "Waiting";
}
