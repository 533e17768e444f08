/** `explain`: one deployment in sentences, all of them from its status and that of its gangs. */
import type { Cluster } from "../../kube/cluster.ts";
import type { CSPSDeployment, DecodePool, SPGroup } from "../../kube/object.ts";
import { exitCode } from "../exitCode.ts";
import { type DeploymentView, readDeployment } from "../observe.ts";
import { age } from "../output/age.ts";
import type { Report } from "../output/report.ts";
import { heading, indent, type Paint } from "../output/table.ts";
import { conditionTone } from "./status.ts";

type Condition = NonNullable<NonNullable<CSPSDeployment["status"]>["conditions"]>[number];

interface Explanation {
  readonly namespace: string;
  readonly name: string;
  readonly summary: string;
  readonly conditions: readonly Condition[];
  readonly gangs: readonly { readonly name: string; readonly sentences: readonly string[] }[];
  readonly decisions: NonNullable<NonNullable<CSPSDeployment["status"]>["decisions"]>;
}

export async function explain(
  cluster: Cluster,
  target: { namespace: string; name: string },
  nowMs: number,
): Promise<Report> {
  const data = explanation(await readDeployment(cluster, target));
  return { data, text: (paint) => page(data, paint, nowMs), exit: exitCode.done };
}

function explanation({ deployment, gangs }: DeploymentView): Explanation {
  const { metadata, status } = deployment;
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    summary: summary(deployment),
    conditions: status?.conditions ?? [],
    gangs: gangs.map((gang) => ({ name: gang.metadata.name, sentences: gangSentences(gang) })),
    decisions: status?.decisions ?? [],
  };
}

function summary({ metadata, status }: CSPSDeployment): string {
  if (metadata.deletionTimestamp !== undefined) return `${metadata.name} is being deleted`;
  if (status?.conditions === undefined) return `the operator has not looked at ${metadata.name} yet`;
  const seen = status.observedGeneration ?? 0;
  if (seen < (metadata.generation ?? 0)) {
    const now = String(metadata.generation ?? 0);
    return `the operator has not seen the present spec yet: it is generation ${now}, the status speaks of ${String(seen)}`;
  }
  const available = status.conditions.find((one) => one.type === "Available");
  if (available?.status === "True") return `${metadata.name} serves: ${available.message}`;
  return `${metadata.name} does not serve: ${available?.message ?? "nothing is known of it"}`;
}

function gangSentences({ spec, status }: SPGroup | DecodePool): readonly string[] {
  if (status === undefined) return ["the operator has not looked at it yet"];
  const ready = `${String(status.ranksReady ?? 0)} of ${String(spec.ranks)} ranks serve`;
  const epoch = (status.epoch ?? 0) > 0 ? ` in epoch ${String(status.epoch ?? 0)}` : "";
  const place = status.domain === undefined ? "" : `, in ${status.domain}`;
  const open = (status.conditions ?? []).filter((one) => conditionTone(one) !== "good").map(sentence);
  const restarts = status.restarts ?? 0;
  const failure = (status.lastFailure ?? "") === "" ? "" : `; the last failure: ${status.lastFailure ?? ""}`;
  return [
    `${ready}${epoch}${place}`,
    ...open,
    ...(restarts > 0 ? [`${String(restarts)} rank pods were replaced${failure}`] : []),
  ];
}

function sentence(one: Condition): string {
  return `${one.type} is ${one.status} (${one.reason}): ${one.message}`;
}

function page(data: Explanation, paint: Paint, nowMs: number): string {
  const conditions = data.conditions.map((one) => {
    const said = paint({ text: `${one.type} is ${one.status}`, tone: conditionTone(one) });
    return `${said} for ${age(one.lastTransitionTime, nowMs)} (${one.reason}): ${one.message}`;
  });
  const gangs = data.gangs.map(
    (gang) => `${gang.name}: ${gang.sentences[0] ?? ""}${more(gang.sentences.slice(1))}`,
  );
  const decisions = data.decisions.map((decision) => {
    const refused = decision.refusals.map((refusal) => `refused: ${refusal}`);
    return `${age(decision.time, nowMs)} ago, ${decision.subject}: ${decision.choice}${more(refused)}`;
  });
  return [
    `${data.summary}.`,
    part("Conditions", conditions, paint),
    part("Groups", gangs, paint),
    part("Decisions, newest first", decisions, paint),
  ].join("\n\n");
}

function more(lines: readonly string[]): string {
  return lines.map((line) => `\n${indent(line)}`).join("");
}

function part(title: string, lines: readonly string[], paint: Paint): string {
  return [paint(heading(title)), indent(lines.length === 0 ? "none" : lines.join("\n"))].join("\n");
}
