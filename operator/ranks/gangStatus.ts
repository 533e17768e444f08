/** The status of an SPGroup or DecodePool, from the findings of one reconcile. */
import type { GangStatus, RankDrain } from "../../crds/schema/rankgroup.ts";
import type { DrainStep } from "../planning/gang/drain.ts";
import type { RankPod } from "../planning/gang/observed.ts";
import { memberKey } from "../planning/gang/roster.ts";
import { recentFailures } from "../planning/gang/restart.ts";
import { servingNow } from "../planning/gang/serving.ts";
import { gangConditions, type GangFindings } from "../planning/status/gangConditions.ts";
import { stampConditions, tellingReason } from "../planning/status/reason.ts";
import { recordDecision } from "../planning/status/decisions.ts";
import type { GangContext } from "./context.ts";
import type { GangView } from "./gangView.ts";

export function gangStatus(context: GangContext, view: GangView, findings: GangFindings): GangStatus {
  const { gang, record } = view;
  const { observed } = findings;
  const now = new Date(observed.nowMs).toISOString();
  const drafts = gangConditions(findings);
  const serving = servingNow(observed);
  const failuresMs = recentFailures(record.memory.failuresMs, observed.nowMs, context.policy.restart);
  noteDecision(view, findings, now);
  const domain = findings.placement?.placed === true ? findings.placement.domain : record.lastStatus?.domain;
  const { memory } = record;
  return {
    observedGeneration: gang.metadata.generation ?? 0,
    conditions: [
      ...stampConditions(drafts, record.lastStatus?.conditions ?? [], {
        observedGeneration: gang.metadata.generation ?? 0,
        now,
      }),
    ],
    ranksReady: serving.rankIds.length,
    epoch: serving.epoch,
    ...(domain === undefined ? {} : { domain }),
    reason: tellingReason(drafts),
    rosterGeneration: memory.rosterGeneration,
    rosterMembers: memory.rosterMembers.map(memberKey),
    restarts: memory.restarts,
    failures: failuresMs.map((ms) => new Date(ms).toISOString()),
    lastFailure: memory.lastFailure,
    decisions: record.decisions,
    ranks: observed.pods.map((pod) => ({
      rankId: pod.rankId,
      ...(pod.node === undefined ? {} : { node: pod.node }),
      podPhase: pod.deletingForMs === undefined ? pod.phase : "Terminating",
      enginePhase: observed.engines.get(pod.rankId)?.phase ?? "",
      ...drainOf(pod, findings.plan.drains),
    })),
  };
}

function drainOf(pod: RankPod, drains: readonly DrainStep[]): { drain?: RankDrain } {
  const step = drains.find((one) => one.uid === pod.uid);
  if (step === undefined) return {};
  const { phase, mark, deadlineMs, heldPages, message } = step;
  return {
    drain: {
      ...{ phase, cause: mark.cause, heldPages, message },
      since: new Date(mark.sinceMs).toISOString(),
      deadline: new Date(deadlineMs).toISOString(),
      ...(mark.pages === undefined ? {} : { pagesAtStart: mark.pages }),
    },
  };
}

function noteDecision({ design, record }: GangView, { placement }: GangFindings, time: string): void {
  if (placement === undefined) return;
  const decision = {
    time,
    subject: `placement of ${design.name}`,
    choice: placement.choice,
    ...(placement.placed && { changed: true }),
    refusals: [...placement.refusals],
  };
  record.decisions = [...recordDecision(record.decisions, decision)];
}

/** Equal but for the order of keys, which the API server changes. */
export function sameStatus(left: unknown, right: unknown): boolean {
  return canonical(left) === canonical(right);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
