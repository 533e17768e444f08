/** The conditions of a CSPSDeployment: its groups, its pool, its gateway and its state store, summed up. */
import type { ConditionDraft, ConditionType, Reason } from "./reason.ts";

/** A group or pool as the deployment sees it. */
export interface GangSummary {
  readonly name: string;
  readonly role: "prefill" | "decode";
  readonly ranks: number;
  readonly ranksReady: number;
  /** False while its status speaks of an older spec. */
  readonly current: boolean;
  readonly conditions: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
    readonly message: string;
  }[];
}

export interface DeploymentFindings {
  readonly groups: number;
  readonly gangs: readonly GangSummary[];
  readonly gateway: { readonly desired: number; readonly ready: number };
  readonly stateStore: {
    readonly status: "True" | "False" | "Unknown";
    readonly reason: Reason;
    readonly message: string;
  };
  /** Gangs whose spec is still to be brought to the present revision. */
  readonly rollingOut: readonly string[];
  /** Scaled to zero: the next request starts ranks. */
  readonly asleep: boolean;
  /** What the autoscaler says; undefined while it is off. */
  readonly scaling: ConditionDraft | undefined;
}

export function deploymentConditions(findings: DeploymentFindings): readonly ConditionDraft[] {
  return [
    available(findings),
    progressing(findings),
    degraded(findings),
    summed(findings, "TopologySatisfied", { reason: "Placed", message: "every group has a place" }),
    summed(findings, "EnginesReady", { reason: "EpochFormed", message: "all ranks serve" }),
    { type: "StateStoreReachable", ...findings.stateStore },
    ...(findings.scaling === undefined ? [] : [findings.scaling]),
  ];
}

/** Serving takes one prefill group, the decode pool and one gateway. */
function available(findings: DeploymentFindings): ConditionDraft {
  const type = "Available";
  const lacking: string[] = [];
  const serving = findings.gangs.filter((gang) => holds(gang, "Available"));
  if (!serving.some((gang) => gang.role === "prefill")) lacking.push(because(findings, "prefill"));
  if (!serving.some((gang) => gang.role === "decode")) lacking.push(because(findings, "decode"));
  if (findings.gateway.ready < 1) lacking.push("no gateway pod is ready");
  if (findings.asleep && findings.gateway.ready > 0) {
    const message = "no rank runs while nobody asks; the next request starts ranks and waits for them";
    return { type, status: "True", reason: "ScaledToZero", message };
  }
  if (lacking.length > 0) return { type, status: "False", reason: "NotServing", message: lacking.join("; ") };
  const groups = serving.filter((gang) => gang.role === "prefill").length;
  const message = `${String(groups)} of ${String(findings.groups)} prefill groups and the decode pool serve`;
  return { type, status: "True", reason: "Serving", message };
}

function because(findings: DeploymentFindings, role: GangSummary["role"]): string {
  const gang = findings.gangs.find((one) => one.role === role);
  const condition = gang?.conditions.find((one) => one.type === "Available");
  const subject = role === "prefill" ? "no prefill group serves" : "the decode pool does not serve";
  return gang === undefined || condition === undefined
    ? subject
    : `${subject}: ${gang.name}: ${condition.message}`;
}

function progressing(findings: DeploymentFindings): ConditionDraft {
  const type = "Progressing";
  if (findings.rollingOut.length > 0) {
    const message = `${findings.rollingOut.join(", ")} wait for their turn`;
    return { type, status: "True", reason: "RollingOut", message };
  }
  const moving = findings.gangs.find((gang) => !gang.current || condition(gang, type)?.status !== "False");
  if (moving !== undefined) {
    const inner = condition(moving, type);
    return {
      type,
      status: "True",
      reason: asReason(inner?.reason, "Creating"),
      message: sentence(moving, inner?.message),
    };
  }
  if (findings.gateway.ready < findings.gateway.desired) {
    const message = `${String(findings.gateway.ready)} of ${String(findings.gateway.desired)} gateway pods are ready`;
    return { type, status: "True", reason: "Starting", message };
  }
  return { type, status: "False", reason: "Settled", message: "everything is as the spec says" };
}

function degraded(findings: DeploymentFindings): ConditionDraft {
  const type = "Degraded";
  const worse = findings.gangs.filter((gang) => holds(gang, type));
  const [first] = worse;
  if (first === undefined)
    return { type, status: "False", reason: "AllRanksServe", message: "no rank is lost" };
  const message = worse.map((gang) => sentence(gang, condition(gang, type)?.message)).join("; ");
  return { type, status: "True", reason: asReason(condition(first, type)?.reason, "RanksMissing"), message };
}

/** True when it is for every gang; else the first False, else the first Unknown, names the reason. */
function summed(
  findings: DeploymentFindings,
  type: ConditionType,
  whole: Pick<ConditionDraft, "reason" | "message">,
): ConditionDraft {
  const open = findings.gangs.filter((gang) => condition(gang, type)?.status !== "True");
  const worst = open.find((gang) => condition(gang, type)?.status === "False") ?? open[0];
  if (worst === undefined) return { type, status: "True", ...whole };
  const inner = condition(worst, type);
  const status = inner?.status === "False" ? "False" : "Unknown";
  return {
    type,
    status,
    reason: asReason(inner?.reason, "Waiting"),
    message: sentence(worst, inner?.message),
  };
}

function condition(gang: GangSummary, type: string): GangSummary["conditions"][number] | undefined {
  return gang.conditions.find((one) => one.type === type);
}

function holds(gang: GangSummary, type: string): boolean {
  return condition(gang, type)?.status === "True";
}

function sentence(gang: GangSummary, message: string | undefined): string {
  return message === undefined ? `${gang.name} has just been made` : `${gang.name}: ${message}`;
}

/** Reasons of gangs come out of the API as strings, but only this operator writes them. */
function asReason(reason: string | undefined, fallback: Reason): Reason {
  return reason === undefined ? fallback : (reason as Reason);
}
