/** `explain --replay`: makes the recorded decisions of a deployment again and compares them with their records. */
import type { Cluster } from "../../kube/cluster.ts";
import { type PlacementRecord, replayPlacement } from "../../planning/placement/record.ts";
import { type RebalanceRecord } from "../../planning/rebalance/decision.ts";
import { replayRebalance } from "../../planning/rebalance/plan.ts";
import type { ScalingDecision } from "../../planning/scaling/decision.ts";
import { replay as replayScaling } from "../../planning/scaling/plan.ts";
import { type KeptRecord, type RecordKind, recordKinds, sameAsJson } from "../../planning/status/records.ts";
import { readRecords } from "../../records/keeper.ts";
import { exitCode } from "../exitCode.ts";
import { readDeployment } from "../observe.ts";
import { age } from "../output/age.ts";
import type { Report } from "../output/report.ts";
import { type Cell, table } from "../output/table.ts";

type Verdict = "same" | "differs" | "notKept";

interface Replay {
  readonly kind: RecordKind;
  readonly time: string;
  readonly subject: string;
  readonly choice: string;
  readonly verdict: Verdict;
  readonly record: unknown;
}

/** Equal to the record, unless the planner has changed since. Throws what a planner throws on a damaged record. */
const replayed: Record<RecordKind, (record: unknown) => boolean> = {
  placement: (record) => {
    const made = record as PlacementRecord;
    return sameAsJson(replayPlacement(made), made.decision);
  },
  rebalance: (record) => {
    const made = record as RebalanceRecord;
    return sameAsJson(replayRebalance(made), made.decision);
  },
  scaling: (record) => sameAsJson(replayScaling(record as ScalingDecision), record),
};

export async function replayDecisions(
  cluster: Cluster,
  target: { namespace: string; name: string },
  nowMs: number,
): Promise<Report> {
  const { deployment } = await readDeployment(cluster, target);
  const owner = { namespace: target.namespace, reference: deployment.metadata };
  const kinds = await Promise.all(
    recordKinds.map(async (kind) => {
      const kept = await readRecords(cluster, owner, kind);
      return kept.map((one) => replayOne(kind, one));
    }),
  );
  const data = kinds.flat().sort((a, b) => (a.time < b.time ? 1 : -1));
  return {
    data,
    text: (paint) => {
      if (data.length === 0) return `No decision of ${target.name} is recorded yet.`;
      const rows = data.map((one): Cell[] => [
        `${age(one.time, nowMs)} ago`,
        one.subject,
        { text: one.verdict, tone: one.verdict === "same" ? "good" : "bad" },
        one.choice,
      ]);
      return table(["WHEN", "DECIDED", "REPLAY", "CHOICE"], rows, paint);
    },
    exit: data.some((one) => one.verdict === "differs") ? exitCode.differs : exitCode.done,
  };
}

function replayOne(kind: RecordKind, { time, subject, choice, record }: KeptRecord): Replay {
  return { kind, time, subject, choice, verdict: verdictOf(kind, record), record };
}

function verdictOf(kind: RecordKind, record: unknown): Verdict {
  if (record === undefined) return "notKept";
  try {
    return replayed[kind](record) ? "same" : "differs";
  } catch {
    return "differs";
  }
}
