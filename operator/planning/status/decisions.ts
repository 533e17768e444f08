/** The ring of the last ten decisions, newest first. */
import type { DecisionRecord } from "../../../crds/schema/cspsdeployment.ts";

const ringSize = 10;

/**
 * Adds a decision unless it only repeats the newest one about the same subject. `ofSubject`: how many of its subject
 * are kept, so that a loop that decides every second does not push out what is decided once a day.
 */
export function recordDecision(
  ring: readonly DecisionRecord[],
  decision: DecisionRecord,
  ofSubject: number = ringSize,
): readonly DecisionRecord[] {
  const same = ring.filter((one) => one.subject === decision.subject);
  if (same[0]?.choice === decision.choice) return ring;
  const surplus = new Set(same.slice(ofSubject - 1));
  return [decision, ...ring.filter((one) => !surplus.has(one))].slice(0, ringSize);
}

/** The newest ten of several rings. */
export function mergeDecisions(rings: readonly (readonly DecisionRecord[])[]): readonly DecisionRecord[] {
  return rings
    .flat()
    .sort((a, b) => (a.time === b.time ? (a.subject < b.subject ? -1 : 1) : a.time < b.time ? 1 : -1))
    .slice(0, ringSize);
}
