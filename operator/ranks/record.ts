/** What the operator remembers of each gang between two reconciles; a restart restores it from the status. */
import type { GangStatus } from "../../crds/schema/rankgroup.ts";
import type { EngineReport, GangMemory, Member } from "../planning/gang/observed.ts";
import { memberKey } from "../planning/gang/roster.ts";

export interface GangRecord {
  revision: string;
  memory: GangMemory;
  /** When an engine of the gang first answered. */
  firstAnswerMs: number | undefined;
  /** When each incarnation last answered. */
  readonly lastAnswerMs: Map<string, number>;
  /** The status that was last written; the cache may show an older one. */
  lastStatus: GangStatus | undefined;
  /** Epoch that was last told of in an Event. */
  toldEpoch: number;
  decisions: NonNullable<GangStatus["decisions"]>;
  /** The placement that was recorded in full last, so that one that only repeats it is not. */
  keptPlacement: { readonly choice: string; readonly atMs: number } | undefined;
}

export class GangRecords {
  readonly #records = new Map<string, GangRecord>();

  /** A new revision starts with a clean slate of failures: what failed may be what was changed. */
  of(gangUid: string, revision: string, status: GangStatus | undefined): GangRecord {
    const record = this.#records.get(gangUid) ?? restoreRecord(revision, status);
    this.#records.set(gangUid, record);
    if (record.revision !== revision) {
      record.revision = revision;
      record.memory = { ...record.memory, failuresMs: [], lastFailure: "" };
    }
    return record;
  }

  forget(gangUid: string): void {
    this.#records.delete(gangUid);
  }
}

function restoreRecord(revision: string, status: GangStatus | undefined): GangRecord {
  return {
    revision,
    memory: {
      rosterGeneration: status?.rosterGeneration ?? 0,
      rosterMembers: (status?.rosterMembers ?? []).map(parseMember),
      failuresMs: (status?.failures ?? []).map((time) => Date.parse(time)),
      restarts: status?.restarts ?? 0,
      lastFailure: status?.lastFailure ?? "",
    },
    firstAnswerMs: undefined,
    lastAnswerMs: new Map(),
    lastStatus: status,
    toldEpoch: status?.epoch ?? 0,
    decisions: status?.decisions ?? [],
    keptPlacement: undefined,
  };
}

/** Notes who answered, and returns for how long each of the others has been silent since it last did. */
export function noteAnswers(
  record: GangRecord,
  engines: ReadonlyMap<string, EngineReport>,
  nowMs: number,
): ReadonlyMap<string, number> {
  for (const engine of engines.values()) {
    record.firstAnswerMs ??= nowMs;
    record.lastAnswerMs.set(memberKey(engine), nowMs);
  }
  const silent = record.memory.rosterMembers.filter((member) => !engines.has(member.rankId));
  for (const member of silent) {
    // After a restart of the operator the silence is counted from the first look.
    if (!record.lastAnswerMs.has(memberKey(member))) record.lastAnswerMs.set(memberKey(member), nowMs);
  }
  return new Map(
    silent.map((member) => [member.rankId, nowMs - (record.lastAnswerMs.get(memberKey(member)) ?? nowMs)]),
  );
}

function parseMember(text: string): Member {
  const [rankId = "", incarnation = ""] = text.split("@");
  return { rankId, incarnation };
}
