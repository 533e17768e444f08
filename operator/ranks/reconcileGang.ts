/** One reconcile of a gang, as sentences: look, decide, act, report. The same for prefill groups and decode pools. */
import { isNotFound } from "../kube/api-error.ts";
import { applyStatus } from "../kube/apply.ts";
import type { ReconcileOutcome } from "../kube/controller.ts";
import { type DecodePool, ownedBy, type SPGroup } from "../kube/object.ts";
import { decodePools, type Resource, spGroups } from "../kube/resource.ts";
import { type GangPlan, planGang } from "../planning/gang/plan.ts";
import { planRelocation } from "../planning/gang/relocate.ts";
import type { GangObservation } from "../planning/gang/observed.ts";
import type { Cluster } from "../planning/placement/cluster.ts";
import { type PlacementDecision, type PlacementRequest, planPlacement } from "../planning/placement/place.ts";
import { placementRecord } from "../planning/placement/record.ts";
import type { GangFindings } from "../planning/status/gangConditions.ts";
import { observeCluster } from "./capacity.ts";
import type { GangContext } from "./context.ts";
import { markLeavers, stopAdmission } from "./drainActions.ts";
import { rankShape } from "./desired/rankShape.ts";
import type { GangObject } from "./gang.ts";
import { gangStatus, sameStatus } from "./gangStatus.ts";
import type { GangView } from "./gangView.ts";
import { observeGang, observeNeighbours } from "./observe.ts";
import { createPods, liftGates, removePods } from "./podActions.ts";
import { nextLookMs } from "./pace.ts";
import { pushRoster } from "./rosterActions.ts";
import { tellGang } from "./story.ts";

const recordEveryMs = 10_000;

export async function reconcileGang(
  context: GangContext,
  view: GangView,
  signal: AbortSignal,
): Promise<ReconcileOutcome> {
  const { gang, record } = view;
  // 1 The cache must show what was done last: else pods would be made twice.
  const lagMs = context.expectations.remainingMs(gang.metadata.uid);
  if (lagMs > 0) return { requeueAfterMs: Math.min(lagMs, 1_000) };
  // 2 Look at the pods and ask their engines.
  const observed = await observeGang(context, view, signal);
  // 3 Decide on the next step, and on places for all gated pods at once.
  const { plan, placed } = decide(context, view, observed);
  const placement = placed?.decision;
  // 4 Act on pods.
  const replacing = record.memory.rosterGeneration > 0 || record.memory.failuresMs.length > 0;
  remember(view, observed, plan, replacing);
  if (plan.mark.length > 0) await markLeavers(context, view, { plan, observed });
  const untold = await stopAdmission(context, view, { plan, observed, signal });
  if (plan.remove.length > 0) await removePods(context, view, plan.remove);
  if (plan.create.length > 0) await createPods(context, view, plan.create);
  if (placement?.placed === true) {
    await liftGates(
      context,
      view,
      plan.place.map((pod, index) => ({ pod, node: placement.nodes[index] ?? "" })),
    );
  }
  // 5 Tell the ranks who their peers are.
  const roster = plan.roster;
  const pushed =
    roster !== undefined && roster.push.length > 0
      ? await pushRoster(context, view, { observed, roster, signal })
      : { reports: [], failures: [] };
  // 6 Report: status, events, and when to look again.
  const engines = new Map([...observed.engines, ...pushed.reports.map((one) => [one.rankId, one] as const)]);
  const findings: GangFindings = { observed: { ...observed, engines }, plan, placement };
  const failures = [...untold, ...pushed.failures];
  await report(context, view, { findings, replacing, rosterFailures: failures });
  if (placed !== undefined) await keepPlacement(context, view, placed);
  return { requeueAfterMs: nextLookMs(findings, failures.length > 0) };
}

/** A decision with what it was made from. */
interface Placed {
  readonly cluster: Cluster;
  readonly request: PlacementRequest;
  readonly decision: PlacementDecision;
}

/** Synchronous from the snapshot to the ledger, so that no other gang can be given the same room between. */
function decide(
  context: GangContext,
  view: GangView,
  observed: GangObservation,
): { plan: GangPlan; placed: Placed | undefined } {
  const placeRanks = placer(context, view);
  const plan = planGang(observed, context.policy, (cordoned) => {
    const beside = observed.pods.filter((pod) => pod.uid !== cordoned.uid && !pod.cordoned);
    return placeRanks(1, [...new Set(beside.flatMap((pod) => pod.node ?? []))]).decision.placed;
  });
  if (plan.place.length === 0) return { plan, placed: undefined };
  const placed = placeRanks(plan.place.length, plan.stayWith);
  const placement = placed.decision;
  const placeAll = (): PlacementDecision => placeRanks(observed.spec.ranks, []).decision;
  const stranded = planRelocation({ observed, plan, placement, placeAll });
  if (placement.placed) {
    plan.place.forEach((pod, index) => {
      context.ledger.give(pod.uid, placement.nodes[index] ?? "");
    });
  }
  return { plan: { ...plan, remove: [...plan.remove, ...stranded] }, placed };
}

function placer(
  context: GangContext,
  { gang, design }: GangView,
): (ranks: number, stayWith: readonly string[]) => Placed {
  const { required, preferred } = design.rank.topology ?? {};
  return (ranks, stayWith) => {
    const cluster = observeCluster(context, [required, preferred]);
    const shape = rankShape(design, ownedBy(gang));
    const neighbours = observeNeighbours(context, design);
    const request = { shape, ranks, required, preferred, stayWith, ...neighbours };
    return { cluster, request, decision: planPlacement(cluster, request) };
  };
}

/** Sentences of a cluster that is full change with every figure: those wait, and places that were given do not. */
async function keepPlacement(
  context: GangContext,
  { gang, design, record }: GangView,
  { cluster, request, decision }: Placed,
): Promise<void> {
  const { placed: found, choice } = decision;
  const { keptPlacement } = record;
  const nowMs = context.nowMs();
  const soon = keptPlacement !== undefined && nowMs - keptPlacement.atMs < recordEveryMs;
  if (!found && (soon || keptPlacement?.choice === choice)) return;
  record.keptPlacement = { choice, atMs: nowMs };
  await context.keepPlacement(gang, {
    time: new Date(nowMs).toISOString(),
    subject: `placement of ${design.name}`,
    choice,
    record: placementRecord(cluster, request, decision),
  });
}

function remember({ record }: GangView, observed: GangObservation, plan: GangPlan, replacing: boolean): void {
  const failed = plan.remove.filter((removal) => removal.failure !== undefined);
  const { memory } = record;
  record.memory = {
    ...memory,
    failuresMs: [...memory.failuresMs, ...failed.map(() => observed.nowMs)].slice(-32),
    lastFailure: failed.at(-1)?.failure ?? memory.lastFailure,
    restarts: memory.restarts + (replacing ? plan.create.length : 0),
  };
}

async function report(
  context: GangContext,
  view: GangView,
  deeds: {
    readonly findings: GangFindings;
    readonly replacing: boolean;
    readonly rosterFailures: readonly string[];
  },
): Promise<void> {
  const { gang, record } = view;
  const after = gangStatus(context, view, deeds.findings);
  const before = record.lastStatus;
  for (const { type, reason, note } of tellGang({ ...deeds, before, after, toldEpoch: record.toldEpoch })) {
    context.events.record({ regarding: gang, type, reason, action: "Reconcile", note });
  }
  record.toldEpoch = after.epoch ?? 0;
  if (sameStatus(before, after)) return;
  const resource = (gang.kind === "SPGroup" ? spGroups : decodePools) as Resource<SPGroup | DecodePool>;
  try {
    await applyStatus<GangObject>(context.cluster, resource, { metadata: gang.metadata, status: after });
    record.lastStatus = after;
  } catch (error) {
    // It was deleted while it was looked at: there is nobody left to tell.
    if (!isNotFound(error)) throw error;
  }
}
