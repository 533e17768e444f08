/** Reads what there is of one gang: its pods from the cache, its engines over the control API. */
import { surplusRanks, takesPart } from "../planning/gang/leaving.ts";
import type { GangObservation, GangSpec, RankPod } from "../planning/gang/observed.ts";
import { type GangContext, podIndex } from "./context.ts";
import { askEmptying } from "./drainActions.ts";
import { askEngines } from "./engines.ts";
import type { GangDesign } from "./gang.ts";
import type { GangView } from "./gangView.ts";
import { labelKey } from "./names.ts";
import { nodeOf, rankPodView } from "./podView.ts";
import { noteAnswers } from "./record.ts";

export async function observeGang(
  context: GangContext,
  view: GangView,
  signal: AbortSignal,
): Promise<GangObservation> {
  const { gang, design, record } = view;
  const pods = rankPods(context, gang.metadata.uid);
  const client = await context.rankClients.of(design.namespace, design.controlTokenSecret);
  const engines = await askEngines(client, pods, signal);
  const nowMs = context.nowMs();
  const silentForMs = noteAnswers(record, engines, nowMs);
  const observed: GangObservation = {
    spec: gangSpec(design),
    pods,
    emptyingBytes: new Map(),
    engines,
    silentForMs,
    memory: record.memory,
    nowMs,
    gatedForMs: gatedForMs(context, gang.metadata.uid, nowMs),
    answeringForMs: record.firstAnswerMs === undefined ? 0 : nowMs - record.firstAnswerMs,
  };
  const choosing = design.role === "decode" && surplusRanks(observed).some((pod) => takesPart(pod, observed));
  if (!choosing) return observed;
  return { ...observed, emptyingBytes: await askEmptying(client, pods, signal) };
}

function gangSpec({ name, role, revision, ranks, minRanks, drainSeconds }: GangDesign): GangSpec {
  return { group: name, role, revision, ranks, minRanks, drainMs: drainSeconds * 1000 };
}

function rankPods(context: GangContext, gangUid: string): RankPod[] {
  const sources = { node: (name: string) => context.nodes.get(name), nowMs: context.nowMs() };
  return context.pods
    .byIndex(podIndex.owner, gangUid)
    .map((pod) => withLift(rankPodView(pod, sources), context))
    .sort((a, b) => a.ordinal - b.ordinal);
}

/** A pod whose gate was just lifted, while the cache still shows it gated. */
function withLift(pod: RankPod, context: GangContext): RankPod {
  const node = pod.gated ? context.ledger.nodeOf(pod.uid) : undefined;
  return node === undefined ? pod : { ...pod, gated: false, node };
}

function gatedForMs(context: GangContext, gangUid: string, nowMs: number): number {
  const created = context.pods
    .byIndex(podIndex.owner, gangUid)
    .filter((pod) => (pod.spec?.schedulingGates?.length ?? 0) > 0)
    .map((pod) => Date.parse(pod.metadata.creationTimestamp));
  return created.length === 0 ? 0 : Math.max(0, nowMs - Math.min(...created));
}

export interface Neighbours {
  /** Nodes of the other role's ranks. */
  readonly near: readonly string[];
  /** Nodes of each other gang of the same role. */
  readonly siblings: readonly (readonly string[])[];
}

/** Where the other gangs of the deployment run. */
export function observeNeighbours(context: Pick<GangContext, "pods">, design: GangDesign): Neighbours {
  const near = new Set<string>();
  const siblings = new Map<string, string[]>();
  for (const pod of context.pods.byIndex(podIndex.deployment, `${design.namespace}/${design.deployment}`)) {
    const node = nodeOf(pod);
    const labels = pod.metadata.labels ?? {};
    const group = labels[labelKey.group];
    if (node === undefined || group === undefined || group === design.name) continue;
    if (labels[labelKey.role] !== design.role) near.add(node);
    else siblings.set(group, [...(siblings.get(group) ?? []), node]);
  }
  return { near: [...near], siblings: [...siblings.values()] };
}
