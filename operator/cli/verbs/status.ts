/** `status`: what there is of each deployment. */
import type { Cluster } from "../../kube/cluster.ts";
import type { DecodePool, SPGroup } from "../../kube/object.ts";
import { exitCode } from "../exitCode.ts";
import { type DeploymentView, readDeployments } from "../observe.ts";
import { age } from "../output/age.ts";
import type { Report } from "../output/report.ts";
import { type Cell, heading, indent, type Paint, table, type Tone } from "../output/table.ts";

interface ConditionLine {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

interface DeploymentStatus {
  readonly namespace: string;
  readonly name: string;
  readonly createdAt: string;
  readonly reason: string;
  readonly endpoint?: string | undefined;
  readonly groupsReady: string;
  readonly degree: number;
  readonly decodeRanksReady: string;
  readonly conditions: readonly ConditionLine[];
  readonly gangs: readonly GangLine[];
}

interface GangLine {
  readonly kind: string;
  readonly name: string;
  readonly ranks: number;
  readonly ranksReady: number;
  readonly epoch: number;
  readonly domain: string;
  readonly reason: string;
  readonly restarts: number;
  readonly conditions: readonly ConditionLine[];
  readonly members: NonNullable<NonNullable<SPGroup["status"]>["ranks"]>;
}

export async function status(
  cluster: Cluster,
  target: { namespace: string | undefined; name: string | undefined },
  nowMs: number,
): Promise<Report> {
  const data = (await readDeployments(cluster, target)).map(deploymentStatus);
  const where = target.namespace === undefined ? "in any namespace" : `in namespace ${target.namespace}`;
  const text = (paint: Paint): string =>
    data.length === 0
      ? `There is no CSPSDeployment ${where}.`
      : data.map((one) => section(one, paint, nowMs)).join("\n\n");
  return { data, text, exit: exitCode.done };
}

function deploymentStatus({ deployment, gangs }: DeploymentView): DeploymentStatus {
  const { metadata, status: found } = deployment;
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    createdAt: metadata.creationTimestamp,
    reason: found?.reason ?? "NotReconciled",
    endpoint: found?.endpoint,
    groupsReady: found?.groupsReady ?? `0/${String(deployment.spec.prefill.groups)}`,
    degree: found?.degree ?? 0,
    decodeRanksReady: found?.decodeRanksReady ?? `0/${String(deployment.spec.decode.ranks)}`,
    conditions: found?.conditions ?? [],
    gangs: gangs.map(gangLine),
  };
}

function gangLine(gang: SPGroup | DecodePool): GangLine {
  const found = gang.status;
  return {
    kind: gang.kind,
    name: gang.metadata.name,
    ranks: gang.spec.ranks,
    ranksReady: found?.ranksReady ?? 0,
    epoch: found?.epoch ?? 0,
    domain: found?.domain ?? "",
    reason: found?.reason ?? "NotReconciled",
    restarts: found?.restarts ?? 0,
    conditions: found?.conditions ?? [],
    members: found?.ranks ?? [],
  };
}

function section(one: DeploymentStatus, paint: Paint, nowMs: number): string {
  const summary = table(
    ["NAMESPACE", "DEPLOYMENT", "GROUPS", "DEGREE", "DECODE", "REASON", "AGE"],
    [
      [
        one.namespace,
        one.name,
        one.groupsReady,
        String(one.degree),
        one.decodeRanksReady,
        { text: one.reason, tone: holds(one.conditions, "Available") ? "good" : "bad" },
        age(one.createdAt, nowMs),
      ],
    ],
    paint,
  );
  const parts = [summary];
  if (one.endpoint !== undefined) parts.push(`${paint(heading("Endpoint"))} ${one.endpoint}`);
  parts.push(paint(heading("Conditions")), indent(conditionTable(one.conditions, paint, nowMs)));
  parts.push(paint(heading("Groups")), indent(gangTable(one.gangs, paint)));
  parts.push(paint(heading("Ranks")), indent(rankTable(one.gangs, paint)));
  return parts.join("\n");
}

export function conditionTable(conditions: readonly ConditionLine[], paint: Paint, nowMs: number): string {
  if (conditions.length === 0) return "none: the operator has not looked at it yet";
  return table(
    ["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"],
    conditions.map((one): Cell[] => [
      one.type,
      { text: one.status, tone: conditionTone(one) },
      one.reason,
      age(one.lastTransitionTime, nowMs),
      one.message,
    ]),
    paint,
  );
}

function gangTable(gangs: readonly GangLine[], paint: Paint): string {
  if (gangs.length === 0) return "none yet";
  return table(
    ["KIND", "NAME", "READY", "EPOCH", "DOMAIN", "REASON", "RESTARTS"],
    gangs.map((gang): Cell[] => [
      gang.kind,
      gang.name,
      `${String(gang.ranksReady)}/${String(gang.ranks)}`,
      String(gang.epoch),
      gang.domain === "" ? "-" : gang.domain,
      { text: gang.reason, tone: holds(gang.conditions, "Available") ? "good" : "bad" },
      String(gang.restarts),
    ]),
    paint,
  );
}

function rankTable(gangs: readonly GangLine[], paint: Paint): string {
  const ranks = gangs.flatMap((gang) => gang.members);
  if (ranks.length === 0) return "none yet";
  return table(
    ["RANK", "NODE", "POD", "ENGINE"],
    ranks.map((rank): Cell[] => [
      rank.rankId,
      rank.node ?? "-",
      rank.podPhase === "" ? "-" : rank.podPhase,
      { text: rank.enginePhase === "" ? "silent" : rank.enginePhase, tone: engineTone(rank.enginePhase) },
    ]),
    paint,
  );
}

function engineTone(phase: string): Tone {
  if (phase === "serving") return "good";
  return phase === "failed" ? "bad" : "open";
}

/** Of these two, False is what one wishes for. */
const better = { Degraded: "False", Progressing: "False" } as Readonly<Record<string, string>>;

export function conditionTone({ type, status: value }: Pick<ConditionLine, "type" | "status">): Tone {
  if (value === (better[type] ?? "True")) return "good";
  return value === "Unknown" || type === "Progressing" ? "open" : "bad";
}

function holds(conditions: readonly ConditionLine[], type: string): boolean {
  return conditions.some((one) => one.type === type && one.status === "True");
}
