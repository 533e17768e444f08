/** The conditions of an SPGroup or DecodePool, from what was observed and what was decided. */
import type { GangObservation, RankPod } from "../gang/observed.ts";
import type { GangPlan } from "../gang/plan.ts";
import { servingNow } from "../gang/serving.ts";
import type { PlacementDecision } from "../placement/place.ts";
import type { ConditionDraft, Reason } from "./reason.ts";

export interface GangFindings {
  readonly observed: GangObservation;
  readonly plan: GangPlan;
  /** Of this step; undefined when there was nothing to place. */
  readonly placement: PlacementDecision | undefined;
}

/** After this long without a place a gate is said to have timed out; the search goes on. */
export const gateTimeoutMs = 600_000;

export function gangConditions(findings: GangFindings): readonly ConditionDraft[] {
  const { observed } = findings;
  const { spec } = observed;
  const serving = servingNow(observed);
  const ready = serving.rankIds.length;
  const count = `${String(ready)} of ${String(spec.ranks)} ranks serve`;
  const available = ready >= spec.minRanks;
  return [
    available
      ? draft("Available", "True", "Serving", `${count} in epoch ${String(serving.epoch)}`)
      : draft(
          "Available",
          "False",
          "NotServing",
          `${count}, ${String(spec.minRanks)} are needed; ${hindrance(findings)}`,
        ),
    progressing(findings, ready),
    degraded(findings, ready, count),
    topology(findings),
    engines(findings, ready, count),
  ];
}

function progressing(findings: GangFindings, ready: number): ConditionDraft {
  const { observed, plan } = findings;
  if (plan.terminal !== undefined) return draft("Progressing", "False", "RestartBudgetSpent", plan.terminal);
  if (ready === observed.spec.ranks) return draft("Progressing", "False", "Settled", "all ranks serve");
  return draft("Progressing", "True", progressReason(findings), hindrance(findings));
}

function progressReason({ observed, plan, placement }: GangFindings): Reason {
  if (plan.backoffMs !== undefined) return "RestartBackoff";
  if (placement?.placed === false || observed.pods.some((pod) => pod.gated)) return "Placing";
  if (plan.drains.length > 0) return "Draining";
  if (plan.remove.length > 0 || observed.pods.some((pod) => pod.deletingForMs !== undefined))
    return "Replacing";
  if (observed.pods.length < observed.spec.ranks) return "Creating";
  if (observed.engines.size < observed.spec.ranks) return "Starting";
  return "FormingEpoch";
}

function degraded({ observed, plan }: GangFindings, ready: number, count: string): ConditionDraft {
  const { spec, memory } = observed;
  if (plan.terminal !== undefined) return draft("Degraded", "True", "RestartBudgetSpent", plan.terminal);
  const complete = servingNow(observed).members.length >= spec.ranks;
  // An epoch of all ranks whose last pod is not Ready yet has lost nothing.
  if (ready === spec.ranks || complete) return draft("Degraded", "False", "AllRanksServe", count);
  if (memory.rosterGeneration === 0) return draft("Degraded", "False", "NothingServesYet", count);
  return draft("Degraded", "True", "RanksMissing", count);
}

function topology({ observed, placement }: GangFindings): ConditionDraft {
  const type = "TopologySatisfied";
  if (placement?.placed === false) {
    if (observed.gatedForMs < gateTimeoutMs) return draft(type, "False", placement.reason, placement.choice);
    const minutes = String(Math.floor(observed.gatedForMs / 60_000));
    return draft(type, "False", "GateTimedOut", `no place for ${minutes} min: ${placement.choice}`);
  }
  if (placement !== undefined) return draft(type, "True", "Placed", placement.choice);
  const placed = observed.pods.filter((pod) => pod.node !== undefined).length;
  if (placed < observed.spec.ranks) {
    return draft(
      type,
      "Unknown",
      "Waiting",
      `${String(placed)} of ${String(observed.spec.ranks)} ranks have a place`,
    );
  }
  return draft(type, "True", "Placed", "every rank has a place");
}

function engines({ observed }: GangFindings, ready: number, count: string): ConditionDraft {
  const type = "EnginesReady";
  const { spec } = observed;
  if (ready === spec.ranks) return draft(type, "True", "EpochFormed", count);
  const reports = [...observed.engines.values()];
  if (reports.length < spec.ranks) {
    return draft(
      type,
      "False",
      "EnginesSilent",
      `${String(reports.length)} of ${String(spec.ranks)} engines answer`,
    );
  }
  const loading = reports.filter((engine) => engine.phase === "loading").length;
  if (loading > 0) return draft(type, "False", "EnginesLoading", `${String(loading)} engines load the model`);
  return draft(type, "False", "RosterIncomplete", count);
}

/** The one thing that most keeps the gang from serving in full, as a sentence. */
function hindrance({ observed, plan, placement }: GangFindings): string {
  if (plan.terminal !== undefined) return plan.terminal;
  if (placement?.placed === false) return placement.choice;
  if (plan.backoffMs !== undefined) {
    const seconds = String(Math.ceil(plan.backoffMs / 1000));
    return `a failed rank is made again in ${seconds} s: ${observed.memory.lastFailure}`;
  }
  const [leaving] = plan.drains;
  if (leaving !== undefined) return `${leaving.rankId} leaves: ${leaving.message}`;
  const waiting = observed.pods.map((pod) => ({ pod, why: podHindrance(pod, observed) }));
  const first = waiting.find((one) => one.why !== "");
  if (first !== undefined) return `${first.pod.rankId} ${first.why}`;
  return observed.pods.length < observed.spec.ranks ? "pods are being created" : "the ranks form an epoch";
}

function podHindrance(pod: RankPod, observed: GangObservation): string {
  if (pod.deletingForMs !== undefined) return "is being deleted";
  if (pod.gated) return "waits for its gang's place";
  if (!pod.nodeReady) return `is on node ${pod.node ?? "?"}, which is not ready`;
  if (pod.phase !== "Running") return `is ${pod.phase}${pod.node === undefined ? "" : ` on ${pod.node}`}`;
  const engine = observed.engines.get(pod.rankId);
  if (engine === undefined) return "does not answer on its control port";
  if (engine.phase !== "serving")
    return `is ${engine.phase}${engine.reason === "" ? "" : `: ${engine.reason}`}`;
  return pod.ready ? "" : "serves but its pod is not Ready yet";
}

function draft(
  type: ConditionDraft["type"],
  status: ConditionDraft["status"],
  reason: Reason,
  message: string,
): ConditionDraft {
  return { type, status, reason, message };
}
