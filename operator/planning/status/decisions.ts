/**
 * The decisions that a status shows, newest first. Loops decide every second or two and mostly find nothing to do; who
 * reads a status asks what changed and how things stand. So the places are given away in this order:
 *
 *   1  of each kind ("scaling" in "scaling of m") the newest, and the newest that changed something
 *   2  of each subject the newest
 *   3  what else changed something, the newest first
 *   4  what found nothing to do, the newest first; of those that differ in figures alone only the newest counts
 *
 * Deciding nothing costs a subject one place at most, however often it does.
 */
import type { DecisionRecord } from "../../../crds/schema/cspsdeployment.ts";

/** Records that a status shows at most. */
export const mostDecisions = 16;

/**
 * Adds a decision unless it only repeats the newest one about the same subject. `ofSubject`: how many of its subject
 * are kept, so that a loop that always finds something to change does not push out what is decided once a day.
 */
export function recordDecision(
  ring: readonly DecisionRecord[],
  decision: DecisionRecord,
  ofSubject: number = mostDecisions,
): readonly DecisionRecord[] {
  const same = ring.filter((one) => one.subject === decision.subject);
  if (same[0]?.choice === decision.choice) return ring;
  const kept = new Set(keptDecisions([decision, ...same], ofSubject));
  const among = [decision, ...ring].filter((one) => one.subject !== decision.subject || kept.has(one));
  return keptDecisions(among, mostDecisions);
}

/** What the rings of several subjects show together. */
export function mergeDecisions(rings: readonly (readonly DecisionRecord[])[]): readonly DecisionRecord[] {
  const newestFirst = rings
    .flat()
    .sort((a, b) => (a.time === b.time ? (a.subject < b.subject ? -1 : 1) : a.time < b.time ? 1 : -1));
  return keptDecisions(newestFirst, mostDecisions);
}

/** Those of the records that have a place, in their order; `records` are the newest first. */
export function keptDecisions(records: readonly DecisionRecord[], places: number): readonly DecisionRecord[] {
  const ranked: DecisionRecord[][] = [[], [], [], []];
  const seen = new Set<string>();
  const isFirst = (...named: readonly string[]): boolean => {
    const before = seen.size;
    return seen.add(named.join("\n")).size > before;
  };
  for (const record of records) {
    const { subject, choice, changed = false } = record;
    const kind = kindOf(subject);
    const firsts = {
      ofKind: isFirst("kind", kind),
      changeOfKind: changed && isFirst("change", kind),
      ofSubject: isFirst("subject", subject),
      said: !changed && isFirst("said", subject, withoutFigures(choice)),
    };
    if (firsts.ofKind || firsts.changeOfKind) ranked[0]?.push(record);
    else if (firsts.ofSubject) ranked[1]?.push(record);
    else if (changed) ranked[2]?.push(record);
    else if (firsts.said) ranked[3]?.push(record);
  }
  const kept = new Set(ranked.flat().slice(0, places));
  return records.filter((one) => kept.has(one));
}

function kindOf(subject: string): string {
  return subject.split(" of ", 1)[0] ?? subject;
}

function withoutFigures(choice: string): string {
  return choice.replace(/\d+(\.\d+)?/g, "0");
}
