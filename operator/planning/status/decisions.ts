/** The ring of the last ten decisions, newest first. */
import type { DecisionRecord } from "../../../crds/schema/cspsdeployment.ts";

const ringSize = 10;

/** Adds a decision unless it only repeats the newest one about the same subject. */
export function recordDecision(
  ring: readonly DecisionRecord[],
  decision: DecisionRecord,
): readonly DecisionRecord[] {
  const last = ring.find((one) => one.subject === decision.subject);
  if (last?.choice === decision.choice) return ring;
  return [decision, ...ring].slice(0, ringSize);
}

/** The newest ten of several rings. */
export function mergeDecisions(rings: readonly (readonly DecisionRecord[])[]): readonly DecisionRecord[] {
  return rings
    .flat()
    .sort((a, b) => (a.time === b.time ? (a.subject < b.subject ? -1 : 1) : a.time < b.time ? 1 : -1))
    .slice(0, ringSize);
}
