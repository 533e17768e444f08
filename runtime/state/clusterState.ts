/**
 * The port: what operator and gateway ask of the cluster state, in the domain's words. Redis is soft, so an
 * answer says whether there is one; nothing here throws but `close`.
 */
import type { DegreeTable, MoveRecord, RankReport, ShardMap } from "./domain.ts";

/**
 * Why there is no answer. `untrusted`: its certificate; `readOnly`: a replica that takes no writes; `full`: its memory;
 * `invalid`: outside the schema.
 */
export type StateProblem =
  "unreachable" | "timeout" | "untrusted" | "denied" | "readOnly" | "full" | "invalid" | "failed";

export type StateAnswer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: StateProblem; readonly message: string };

/** A sentence without its end. */
export function troubleOf({
  problem,
  message,
}: Extract<StateAnswer<unknown>, { readonly ok: false }>): string {
  return `the state store is ${problem}: ${message}`;
}

/** A write that a newer one of the same kind has overtaken is `stale` and changes nothing. */
export type Written = "accepted" | "stale";

/** Pages that a pool holds, or will soon, by the key of their content. */
export interface PrefixNote {
  readonly pool: string;
  readonly key: string;
}

export interface PrefixPage {
  /** Oldest first. */
  readonly notes: readonly PrefixNote[];
  /** To ask with for what comes after them. */
  readonly untilMs: number;
  /** When notes began to be kept; another one than before, or none, where Redis has lost what was noted. */
  readonly era: string | undefined;
}

export type MoveName = Pick<MoveRecord, "moveId" | "requestId">;

/** State of one deployment. Calls are safe to repeat. */
export interface ClusterState {
  /** Keeps the report for `ttlMs`; `stale` when a later incarnation of the rank has reported. */
  reportRank(report: RankReport, ttlMs: number): Promise<StateAnswer<Written>>;
  /** True when that very incarnation was known. */
  removeRank(rankId: string, incarnation: string): Promise<StateAnswer<boolean>>;
  /** Ranks whose report has not expired, by rankId. Reports outside the schema are left out. */
  listRanks(): Promise<StateAnswer<RankReport[]>>;
  /** Keeps the map for `ttlMs`; `stale` when a map of a later epoch or version is held. */
  putShards(map: ShardMap, ttlMs: number): Promise<StateAnswer<Written>>;
  /** `stale` when the map held is of a later epoch; true when one was removed. */
  removeShards(requestId: string, epoch: number): Promise<StateAnswer<boolean | "stale">>;
  listShards(): Promise<StateAnswer<ShardMap[]>>;
  /**
   * Records the move for `ttlMs`, as the leader with this fence, and takes its request's lease. `held`: another move of
   * the request has it.
   */
  beginMove(move: MoveRecord, fence: number, ttlMs: number): Promise<StateAnswer<Written | "held">>;
  /** Gives the lease back; true when that very move had it. */
  endMove(move: MoveName, fence: number): Promise<StateAnswer<boolean | "stale">>;
  /** Recorded and not over. Records outside the schema are left out. */
  listMoves(): Promise<StateAnswer<MoveRecord[]>>;
  /** Notes which pages the pool holds, for an hour; of very many the newest stay. */
  notePrefixes(pool: string, keys: readonly string[]): Promise<StateAnswer<"noted">>;
  /** Notes since then, at most `count`; some of the last are told again by the next call. */
  listPrefixes(sinceMs: number, count: number): Promise<StateAnswer<PrefixPage>>;
  /** Publishes the table for `ttlMs`, as the leader with this fence. */
  putDegrees(table: DegreeTable, fence: number, ttlMs: number): Promise<StateAnswer<Written>>;
  /** Undefined when none was published lately, or it is outside the schema. */
  readDegrees(): Promise<StateAnswer<DegreeTable | undefined>>;
  /** Shuts out leaders with a lower number; `stale` when one with a higher has been here. */
  advanceFence(fence: number): Promise<StateAnswer<Written>>;
  checkFence(fence: number): Promise<StateAnswer<"current" | "stale">>;
  /** Forgets everything of the deployment, as the leader with this fence; returns the number of keys. */
  clear(fence: number): Promise<StateAnswer<number | "stale">>;
  close(): Promise<void>;
}

/** Told of every call, answered or not, for metrics. */
export type StateObserver = (call: {
  verb: string;
  durationMs: number;
  problem: StateProblem | undefined;
}) => void;
