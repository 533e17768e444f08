/** The status of a CSPSDeployment, and the Events that its changes are worth. */
import type { CSPSDeploymentStatus } from "../../../crds/schema/cspsdeployment.ts";
import type { CSPSDeployment } from "../../kube/object.ts";
import { mergeDecisions } from "../../planning/status/decisions.ts";
import { isAsleep } from "../../planning/autoscaling/force.ts";
import { deploymentConditions, type DeploymentFindings } from "../../planning/status/deploymentConditions.ts";
import { type ConditionDraft, stampConditions, tellingReason } from "../../planning/status/reason.ts";
import type { StatusNote } from "../../records/notes.ts";
import type { DeploymentContext } from "./context.ts";
import { type DeploymentDesign } from "./desired/deploymentDesign.ts";
import { gatewayEndpoint } from "./desired/gateway.ts";
import { type Observed, summarize } from "./observe.ts";

export interface StatusFindings {
  readonly observed: Observed;
  readonly rollout: { readonly held: readonly string[] };
  readonly stateStore: DeploymentFindings["stateStore"];
  /** Of the autoscaler, when it has one. */
  readonly note: StatusNote | undefined;
  readonly now: string;
}

export function deploymentStatus(
  deployment: CSPSDeployment,
  design: DeploymentDesign,
  { observed, rollout, stateStore, note, now }: StatusFindings,
): CSPSDeploymentStatus {
  const groups = observed.groups.map((group) => summarize(group, "prefill"));
  const pool = observed.pool === undefined ? [] : [summarize(observed.pool, "decode")];
  const drafts = deploymentConditions({
    groups: design.spec.prefill.groups,
    gangs: [...groups, ...pool],
    gateway: { desired: design.spec.gateway.replicas, ready: observed.gatewayReady },
    stateStore,
    rollingOut: rollout.held,
    asleep: isAsleep(design.spec),
    scaling: note?.condition ?? earlierScaling(deployment, design),
  });
  const readyGroups = groups.filter((group) => isTrue(group.conditions, "Available")).length;
  const degree = Math.max(0, ...groups.map((group) => group.ranksReady));
  const gangs = [...observed.groups, ...(observed.pool === undefined ? [] : [observed.pool])];
  return {
    ...stamped(deployment, drafts, now),
    endpoint: gatewayEndpoint(design),
    groupsReady: `${String(readyGroups)}/${String(design.spec.prefill.groups)}`,
    degree,
    decodeRanksReady: `${String(pool[0]?.ranksReady ?? 0)}/${String(design.spec.decode.ranks)}`,
    decisions: [
      ...mergeDecisions([
        note?.decisions ?? scalingDecisions(deployment),
        ...gangs.map((gang) => gang.status?.decisions ?? []),
      ]),
    ],
  };
}

/** The status without what others write there. */
export function ownStatus(status: CSPSDeploymentStatus | undefined): CSPSDeploymentStatus | undefined {
  if (status === undefined) return undefined;
  const { scale: _, ...own } = status;
  return own;
}

/** What an earlier leader's autoscaler said stands until this one's has looked. */
function earlierScaling({ status }: CSPSDeployment, { spec }: DeploymentDesign): ConditionDraft | undefined {
  if (spec.autoscaling.mode === "Off") return undefined;
  const found = status?.conditions?.find((one) => one.type === "AutoscalingActive");
  // Conditions come out of the API as strings, but only this operator writes them.
  return found === undefined ? undefined : (pickDraft(found) as ConditionDraft);
}

function pickDraft({ type, status, reason, message }: { [Field in keyof ConditionDraft]: string }) {
  return { type, status, reason, message };
}

function scalingDecisions({ metadata, status }: CSPSDeployment) {
  return (status?.decisions ?? []).filter((one) => one.subject === `scaling of ${metadata.name}`);
}

/** For a spec that can't be reconciled: one condition says so, the rest is unknown. */
export function invalidStatus(
  deployment: CSPSDeployment,
  message: string,
  now: string,
): CSPSDeploymentStatus {
  const drafts: ConditionDraft[] = [
    { type: "Available", status: "False", reason: "InvalidSpec", message },
    { type: "Progressing", status: "False", reason: "InvalidSpec", message },
  ];
  return { ...stamped(deployment, drafts, now), reason: "InvalidSpec" };
}

function stamped(
  deployment: CSPSDeployment,
  drafts: readonly ConditionDraft[],
  now: string,
): Pick<CSPSDeploymentStatus, "observedGeneration" | "conditions" | "reason"> {
  const observedGeneration = deployment.metadata.generation ?? 0;
  return {
    observedGeneration,
    conditions: [
      ...stampConditions(drafts, deployment.status?.conditions ?? [], { observedGeneration, now }),
    ],
    reason: tellingReason(drafts),
  };
}

const told = [
  { type: "Available", status: "True", eventType: "Normal", reason: "Available" },
  { type: "Available", status: "False", eventType: "Warning", reason: "NotAvailable" },
  { type: "Degraded", status: "True", eventType: "Warning", reason: "Degraded" },
  { type: "TopologySatisfied", status: "False", eventType: "Warning", reason: "NotPlaced" },
  { type: "StateStoreReachable", status: "False", eventType: "Warning", reason: "StateStoreUnreachable" },
] as const;

/** One Event for each condition that turned to something worth telling. */
export function tellDeployment(
  context: Pick<DeploymentContext, "events">,
  deployment: CSPSDeployment,
  after: CSPSDeploymentStatus,
): void {
  for (const { type, status, eventType, reason } of told) {
    const now = after.conditions?.find((one) => one.type === type);
    const then = deployment.status?.conditions?.find((one) => one.type === type);
    if (now?.status !== status || then?.status === status) continue;
    // A deployment that has just been made is not available yet; that is no news.
    if (then === undefined && reason === "NotAvailable") continue;
    const note = now.message;
    context.events.record({ regarding: deployment, type: eventType, reason, action: "Reconcile", note });
  }
}

function isTrue(conditions: readonly { type: string; status: string }[], type: string): boolean {
  return conditions.some((one) => one.type === type && one.status === "True");
}
