/**
 * Full records of decisions: everything that each one was made from, beside what was decided, so that it can be made
 * again and compared. The last ones of a deployment are kept in one ConfigMap, a key for each kind of decision, a line
 * of JSON for each record, newest first.
 */
export const recordKinds = ["placement", "rebalance", "scaling"] as const;
export type RecordKind = (typeof recordKinds)[number];

export interface KeptRecord {
  /** RFC 3339. */
  readonly time: string;
  /** As in status.decisions, for example rebalancing of m-decode. */
  readonly subject: string;
  /** The sentence of the decision. */
  readonly choice: string;
  /** What the planner's replay function takes. Absent when it was larger than all records together may be. */
  readonly record?: unknown;
}

export interface RecordLimits {
  readonly records: number;
  /** Of all lines of one kind; an object of the API server holds about a million in all. */
  readonly characters: number;
}

export const defaultRecordLimits: RecordLimits = { records: 20, characters: 200_000 };

/** Name of the ConfigMap of a deployment. */
export function recordsName(deployment: string): string {
  return `${deployment}-decisions`;
}

/** Its key that holds the records of one kind. */
export function recordsKey(kind: RecordKind): string {
  return `${kind}.jsonl`;
}

/** With one more; the oldest go when there are too many or too long ones. */
export function keepRecord(
  kept: readonly KeptRecord[],
  newest: KeptRecord,
  limits: RecordLimits = defaultRecordLimits,
): readonly KeptRecord[] {
  const { record, ...bare } = newest;
  const first = lineOf(newest).length > limits.characters ? bare : { ...bare, record };
  const all = [first, ...kept].slice(0, limits.records);
  let room = limits.characters;
  const fitting = all.findIndex((one) => {
    room -= lineOf(one).length + 1;
    return room < -1;
  });
  return fitting < 0 ? all : all.slice(0, Math.max(1, fitting));
}

export function renderRecords(kept: readonly KeptRecord[]): string {
  return kept.map(lineOf).join("\n");
}

/** Lines that are no records, as of a later version, are left out. */
export function parseRecords(text: string): readonly KeptRecord[] {
  return text.split("\n").flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line);
      return isRecord(value) ? [value] : [];
    } catch {
      return [];
    }
  });
}

/** Equal as JSON, whatever the order of the keys: what a replay has to be to its record. */
export function sameAsJson(left: unknown, right: unknown): boolean {
  return canonical(left) === canonical(right);
}

function isRecord(value: unknown): value is KeptRecord {
  if (typeof value !== "object" || value === null) return false;
  const { time, subject, choice } = value as Partial<Record<keyof KeptRecord, unknown>>;
  return typeof time === "string" && typeof subject === "string" && typeof choice === "string";
}

function lineOf(one: KeptRecord): string {
  return JSON.stringify(one);
}

function canonical(value: unknown): string {
  return JSON.stringify({ value }, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
