/**
 * How far each rank that leaves is, and its next step:
 *
 *   Cordon          it is marked; it waits until the gang can serve without it
 *   StopAdmission   its engine is told to take nothing new
 *   MigrateShards   its pool moves its pages and homes to the others
 *   Confirm         it holds no page; its engine has yet to say that nobody needs it
 *   Delete          its pod goes, with time to end in order; so it does at the deadline, whatever it still holds
 *
 * Where a rank is, is read from its pod's mark and its engine's words alone, so that any leader goes on at any step.
 */
import type { DrainPhase } from "../../../crds/schema/rankgroup.ts";
import type { EngineReport, GangObservation, LeaveMark, RankPod } from "./observed.ts";
import { podRuns } from "./roster.ts";

export interface DrainStep {
  readonly rankId: string;
  readonly uid: string;
  readonly mark: LeaveMark;
  readonly phase: DrainPhase;
  /** Epoch milliseconds. */
  readonly deadlineMs: number;
  readonly heldPages: number;
  /** What it waits for, or why it goes; a sentence. */
  readonly message: string;
}

/** Of every marked rank whose pod is not being deleted yet, in the order in which they were marked. */
export function planDrains(observed: GangObservation): readonly DrainStep[] {
  const marked = observed.pods
    .flatMap((pod) => (pod.leaves === undefined ? [] : [{ pod, mark: pod.leaves }]))
    .filter(({ pod }) => pod.deletingForMs === undefined)
    .sort((a, b) => a.mark.sinceMs - b.mark.sinceMs || a.pod.ordinal - b.pod.ordinal);
  let serving = servingRanks(observed);
  return marked.map(({ pod, mark }) => {
    const engine = observed.engines.get(pod.rankId);
    const deadlineMs = mark.sinceMs + observed.spec.drainMs;
    const heldPages = engine?.heldPages ?? 0;
    const step = { rankId: pod.rankId, uid: pod.uid, mark, deadlineMs, heldPages };
    const next = nextPhase(pod, engine, { observed, mark, deadlineMs, serving });
    if (next.phase === "StopAdmission") serving -= 1;
    return { ...step, ...next };
  });
}

interface Circumstances {
  readonly observed: GangObservation;
  readonly mark: LeaveMark;
  readonly deadlineMs: number;
  /** Ranks that take new work now, this one included. */
  readonly serving: number;
}

function nextPhase(
  pod: RankPod,
  engine: EngineReport | undefined,
  { observed, mark, deadlineMs, serving }: Circumstances,
): Pick<DrainStep, "phase" | "message"> {
  const { spec, nowMs } = observed;
  if (!podRuns(pod)) return { phase: "Delete", message: "it never served" };
  if (nowMs >= deadlineMs) {
    const seconds = String(Math.round(spec.drainMs / 1000));
    const left = engine === undefined ? "does not answer" : `still holds ${String(engine.heldPages)} pages`;
    return { phase: "Delete", message: `it ${left} after ${seconds} s; what is lost is computed again` };
  }
  if (engine === undefined) return { phase: "StopAdmission", message: "its engine does not answer" };
  if (engine.phase === "drained") return { phase: "Delete", message: "it has handed over everything" };
  if (engine.phase === "draining") {
    if (engine.heldPages > 0) return { phase: "MigrateShards", message: pagesLeft(engine, mark) };
    // A prefill rank holds nothing for others: once it is idle nobody needs it.
    if (spec.role === "prefill" && !engine.busy) return { phase: "Delete", message: "it is idle" };
    return { phase: "Confirm", message: "it holds no page; its peers have yet to let it go" };
  }
  if (engine.phase !== "serving" && engine.heldPages === 0)
    return { phase: "Delete", message: `it serves nothing: it is ${engine.phase}` };
  const needed = Math.min(spec.minRanks, mark.cause === "ScaleIn" ? spec.ranks : spec.ranks - 1);
  if (serving - 1 < needed) {
    const others = String(Math.max(0, serving - 1));
    return {
      phase: "Cordon",
      message: `it waits: ${others} others take new work and ${String(needed)} are needed`,
    };
  }
  return { phase: "StopAdmission", message: "it is told to take nothing new" };
}

function pagesLeft({ heldPages }: EngineReport, { pages }: LeaveMark): string {
  const of = pages === undefined ? "" : ` of ${String(pages)}`;
  return `${String(heldPages)}${of} pages are left to move`;
}

function servingRanks({ pods, engines }: GangObservation): number {
  return pods.filter((pod) => pod.deletingForMs === undefined && engines.get(pod.rankId)?.phase === "serving")
    .length;
}
