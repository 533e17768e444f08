/** One rank pod of the API as planning sees it. */
import type { Node, Pod } from "../kube/object.ts";
import type { LeaveMark, RankPod } from "../planning/gang/observed.ts";
import { nodeIsReady } from "../planning/topology/snapshot.ts";
import { drainMark } from "./drainMark.ts";
import { gangGate, labelKey, nodeAnnotation } from "./names.ts";

export interface PodViewSources {
  node(name: string): Node | undefined;
  readonly nowMs: number;
}

export function rankPodView(pod: Pod, sources: PodViewSources): RankPod {
  const { metadata, spec, status } = pod;
  const node = nodeOf(pod);
  const deletedAt = deletionAskedAtMs(pod);
  const unschedulable = status?.conditions?.find(
    (one) => one.type === "PodScheduled" && one.status === "False" && one.reason === "Unschedulable",
  );
  return {
    rankId: metadata.name,
    ordinal: Number(metadata.labels?.[labelKey.rankOrdinal] ?? -1),
    uid: metadata.uid,
    revision: metadata.labels?.[labelKey.revision] ?? "",
    gated: spec?.schedulingGates?.some((gate) => gate.name === gangGate) ?? false,
    node,
    bound: (spec?.nodeName ?? "") !== "",
    phase: status?.phase ?? "Pending",
    ready: status?.conditions?.some((one) => one.type === "Ready" && one.status === "True") ?? false,
    address: status?.podIP,
    nodeReady: node === undefined || isReady(sources.node(node)),
    deletingForMs: deletedAt === undefined ? undefined : sources.nowMs - deletedAt,
    unschedulableForMs: since(unschedulable?.lastTransitionTime, sources.nowMs),
    cordoned: node !== undefined && sources.node(node)?.spec?.unschedulable === true,
    leaves: leaveMark(pod),
    exitReason: exitReason(pod),
  };
}

function leaveMark(pod: Pod): LeaveMark | undefined {
  const mark = drainMark(pod);
  return mark === undefined
    ? undefined
    : { cause: mark.cause, sinceMs: Date.parse(mark.since), pages: mark.pages };
}

/** The node that a pod is bound or pinned to. */
export function nodeOf(pod: Pod): string | undefined {
  const bound = pod.spec?.nodeName ?? "";
  const pinned = pod.metadata.annotations?.[nodeAnnotation] ?? "";
  const name = bound === "" ? pinned : bound;
  return name === "" ? undefined : name;
}

/** A pod that is over holds no resources of its node. */
export function isOver(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

function isReady(node: Node | undefined): boolean {
  return node !== undefined && nodeIsReady(node);
}

/** The deletion timestamp lies in the future by the grace period; the request came before it. */
function deletionAskedAtMs(pod: Pod): number | undefined {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = pod.metadata;
  return deletionTimestamp === undefined
    ? undefined
    : Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1000;
}

function since(time: string | undefined, nowMs: number): number | undefined {
  return time === undefined ? undefined : Math.max(0, nowMs - Date.parse(time));
}

function exitReason(pod: Pod): string | undefined {
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const ended = statuses.find((one) => (one.state?.terminated?.exitCode ?? 0) !== 0);
  const terminated = ended?.state?.terminated;
  if (ended !== undefined && terminated !== undefined) {
    const why = terminated.reason === undefined ? "" : ` (${terminated.reason})`;
    return `${pod.metadata.name}: container ${ended.name} ended with code ${String(terminated.exitCode)}${why}`;
  }
  const { reason, message } = pod.status ?? {};
  return reason === undefined ? undefined : `${pod.metadata.name}: ${reason}: ${message ?? ""}`;
}
