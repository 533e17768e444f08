/** `drain`: asks the operator to let one rank go in order, or tells what that would move. */
import { get, jsonPatch } from "../../kube/apply.ts";
import type { Cluster } from "../../kube/cluster.ts";
import type { DecodePool, Pod } from "../../kube/object.ts";
import { decodePools, pods } from "../../kube/resource.ts";
import { emptyingBytes } from "../../planning/rebalance/emptying.ts";
import { planRebalance } from "../../planning/rebalance/plan.ts";
import { rebalancePolicy } from "../../planning/rebalance/policy.ts";
import { drainAnnotation, drainMark, drainMarkText } from "../../ranks/drainMark.ts";
import { labelKey } from "../../ranks/names.ts";
import { poolSnapshot } from "../../ranks/poolSnapshot.ts";
import { CliError, exitCode } from "../exitCode.ts";
import type { Report } from "../output/report.ts";
import type { PoolLook } from "../pool.ts";

export interface DrainTarget {
  readonly namespace: string;
  /** The rank, which is also its pod's name. */
  readonly name: string;
}

/** Throws CliError when there is no such rank. */
export async function findRank(cluster: Cluster, { namespace, name }: DrainTarget): Promise<Pod> {
  const pod = await get(cluster, pods, { metadata: { namespace, name } });
  if (pod?.metadata.labels?.[labelKey.rankOrdinal] === undefined)
    throw new CliError(`there is no rank "${name}" in namespace "${namespace}"`);
  return pod;
}

/** Undefined for a prefill rank: it holds no KV. */
export async function poolOfRank(cluster: Cluster, pod: Pod): Promise<DecodePool | undefined> {
  const { namespace = "", labels = {} } = pod.metadata;
  if (labels[labelKey.role] !== "decode") return undefined;
  const pool = { metadata: { namespace, name: labels[labelKey.group] ?? "" } };
  return await get(cluster, decodePools, pool);
}

export async function drain(cluster: Cluster, pod: Pod, nowMs: number): Promise<Report> {
  const { name, namespace = "", uid } = pod.metadata;
  const before = drainMark(pod);
  const since = new Date(nowMs).toISOString();
  const path = `/metadata/annotations/${drainAnnotation.replace("/", "~1")}`;
  if (before === undefined) {
    await jsonPatch<Pod>(cluster, pods, pod, [
      { op: "test", path: "/metadata/uid", value: uid },
      { op: "add", path, value: drainMarkText({ cause: "Asked", since }) },
    ]);
  }
  const data = { rank: name, namespace, cause: before?.cause ?? "Asked", since: before?.since ?? since };
  const told =
    before === undefined
      ? `${name} is asked to hand over what it holds; the operator then replaces it.`
      : `${name} already leaves since ${before.since}: ${before.cause}.`;
  const hint = `Its progress stands in the status of its pool: kubectl csps explain ${pod.metadata.labels?.[labelKey.deployment] ?? ""} -n ${namespace}`;
  return { data, text: () => `${told}\n${hint}`, exit: exitCode.done };
}

/** What would move and where to, by the planner, without doing any of it. */
export async function planDrainOf(look: PoolLook, rankId: string): Promise<Report> {
  const inventory = await look.inventory();
  const snapshot = poolSnapshot(inventory, { admits: (one) => one !== rankId, ordered: [] });
  const policy = rebalancePolicy(look.pool.spec.rebalance, look.pool.spec.engine.backend);
  const decision = planRebalance(snapshot, policy, { kind: "drain", rankId });
  const bytes = emptyingBytes(snapshot).get(rankId) ?? 0;
  const lines = [
    `${decision.choice}.`,
    `${(bytes / 2 ** 20).toFixed(1)} MiB would be copied in all. Nothing was changed.`,
    ...decision.refusals,
  ];
  const stuck = decision.reason === "NoRoom";
  return {
    data: { rank: rankId, bytes, decision },
    text: () => lines.join("\n"),
    exit: stuck ? exitCode.doesNotFit : exitCode.done,
  };
}
