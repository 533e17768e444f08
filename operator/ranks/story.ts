/** What one reconcile of a gang tells people: a list of Events, from what was done and what changed. Pure. */
import type { GangStatus } from "../../crds/schema/rankgroup.ts";
import type { GangPlan } from "../planning/gang/plan.ts";
import { servingNow } from "../planning/gang/serving.ts";
import { rankIdOf } from "../planning/gang/observed.ts";
import type { GangFindings } from "../planning/status/gangConditions.ts";

export interface Telling {
  readonly type: "Normal" | "Warning";
  readonly reason:
    | "Placed"
    | "NotPlaced"
    | "GateLifted"
    | "RankLost"
    | "RankReplaced"
    | "RanksCreated"
    | "RosterPushed"
    | "RosterRefused"
    | "EpochFormed"
    | "Available"
    | "NotAvailable"
    | "Degraded"
    | "Recovered"
    | "RestartBudgetSpent"
    | "RankLeaves"
    | "RankDrained";
  readonly note: string;
}

export interface Deeds {
  readonly findings: GangFindings;
  readonly before: GangStatus | undefined;
  readonly after: GangStatus;
  /** The gang had served, or had failed, before: new pods are replacements. */
  readonly replacing: boolean;
  readonly rosterFailures: readonly string[];
  readonly toldEpoch: number;
}

export function tellGang(deeds: Deeds): readonly Telling[] {
  const { plan } = deeds.findings;
  return [
    ...tellLeavers(plan),
    ...tellRemovals(plan),
    ...tellPods(deeds),
    ...tellPlacement(deeds),
    ...tellRoster(deeds),
    ...tellHealth(deeds),
  ];
}

function tellLeavers({ mark, drains }: GangPlan): Telling[] {
  const chosen = mark.map(({ pod, cause }): Telling => {
    const note = `${pod.rankId} hands over what it holds and leaves: ${cause}`;
    return { type: "Normal", reason: "RankLeaves", note };
  });
  const gone = drains
    .filter((step) => step.phase === "Delete")
    .map(({ rankId, heldPages, message }): Telling => {
      const type = heldPages === 0 ? "Normal" : "Warning";
      return { type, reason: "RankDrained", note: `${rankId} goes: ${message}` };
    });
  return [...chosen, ...gone];
}

function tellRemovals(plan: GangPlan): Telling[] {
  const unforeseen = plan.remove.filter((removal) => removal.reason !== "Drained");
  const lost = unforeseen.map(({ rankId, reason, failure }): Telling => {
    const why = failure === undefined ? reason : `${reason}: ${failure}`;
    return { type: "Warning", reason: "RankLost", note: `${rankId} is removed: ${why}` };
  });
  if (plan.terminal === undefined) return lost;
  return [...lost, { type: "Warning", reason: "RestartBudgetSpent", note: plan.terminal }];
}

function tellPods({ findings, replacing }: Deeds): Telling[] {
  const { plan, observed } = findings;
  if (plan.create.length === 0) return [];
  const names = plan.create.map((ordinal) => rankIdOf(observed.spec.group, ordinal)).join(", ");
  return replacing
    ? [{ type: "Normal", reason: "RankReplaced", note: `made again: ${names}` }]
    : [{ type: "Normal", reason: "RanksCreated", note: `made, gated until all have a place: ${names}` }];
}

function tellPlacement({ findings }: Deeds): Telling[] {
  const { placement, plan } = findings;
  if (placement === undefined) return [];
  if (!placement.placed) return [{ type: "Warning", reason: "NotPlaced", note: placement.choice }];
  const pins = plan.place.map((pod, index) => `${pod.rankId} → ${placement.nodes[index] ?? "?"}`).join(", ");
  return [
    { type: "Normal", reason: "Placed", note: placement.choice },
    { type: "Normal", reason: "GateLifted", note: pins },
  ];
}

function tellRoster({ findings, rosterFailures }: Deeds): Telling[] {
  const roster = findings.plan.roster;
  const told: Telling[] = rosterFailures.map((note) => ({ type: "Warning", reason: "RosterRefused", note }));
  if (roster?.changed !== true) return told;
  const members = roster.members.map((member) => member.rankId).join(", ");
  const note = `generation ${String(roster.generation)}: ${members}`;
  return [{ type: "Normal", reason: "RosterPushed", note }, ...told];
}

function tellHealth({ findings, before, after, toldEpoch }: Deeds): Telling[] {
  const told: Telling[] = [];
  const serving = servingNow(findings.observed);
  if (serving.epoch > 0 && serving.epoch !== toldEpoch) {
    const note = `epoch ${String(serving.epoch)}: ${serving.members.join(", ")}`;
    told.push({ type: "Normal", reason: "EpochFormed", note });
  }
  const available = change(before, after, "Available");
  if (available?.status === "True")
    told.push({ type: "Normal", reason: "Available", note: available.message });
  if (available?.status === "False" && before !== undefined) {
    told.push({ type: "Warning", reason: "NotAvailable", note: available.message });
  }
  const degraded = change(before, after, "Degraded");
  if (degraded?.status === "True") told.push({ type: "Warning", reason: "Degraded", note: degraded.message });
  if (degraded?.status === "False" && before !== undefined) {
    told.push({ type: "Normal", reason: "Recovered", note: degraded.message });
  }
  return told;
}

/** The condition after, when its status is another than before. */
function change(
  before: GangStatus | undefined,
  after: GangStatus,
  type: string,
): { status: string; message: string } | undefined {
  const now = after.conditions?.find((one) => one.type === type);
  const then = before?.conditions?.find((one) => one.type === type);
  return now === undefined || now.status === then?.status ? undefined : now;
}
