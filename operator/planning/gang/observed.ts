/** A gang as it is observed: its rank pods, what their engines say, and what is remembered of it. */
import type { RankDrain } from "../../../crds/schema/rankgroup.ts";

export type DrainCause = RankDrain["cause"];

/** The mark on the pod of a rank that is on its way out. */
export interface LeaveMark {
  readonly cause: DrainCause;
  /** Epoch milliseconds. */
  readonly sinceMs: number;
  /** KV pages that it held when it was marked; undefined when nobody knew. */
  readonly pages: number | undefined;
}

export interface RankPod {
  readonly rankId: string;
  readonly ordinal: number;
  /** Incarnation of the rank: the pod's UID. */
  readonly uid: string;
  readonly revision: string;
  /** Still holds the gang's scheduling gate. */
  readonly gated: boolean;
  /** Node that it is bound or pinned to. */
  readonly node: string | undefined;
  /** The scheduler has bound it. */
  readonly bound: boolean;
  readonly phase: string;
  readonly ready: boolean;
  readonly address: string | undefined;
  /** False once its node stopped reporting. True while it has no node. */
  readonly nodeReady: boolean;
  /** Since deletion was asked for; undefined while it was not. */
  readonly deletingForMs: number | undefined;
  /** Since kube-scheduler called it unschedulable; undefined while it did not. */
  readonly unschedulableForMs: number | undefined;
  /** Its node takes no new pods. */
  readonly cordoned: boolean;
  /** Undefined while it is to stay. */
  readonly leaves: LeaveMark | undefined;
  /** Why a container of it ended: exit code or reason of the container that failed. */
  readonly exitReason: string | undefined;
}

/** What the engine of one rank reports; a rank that can't be asked has none. */
export interface EngineReport {
  readonly rankId: string;
  readonly incarnation: string;
  readonly phase: string;
  readonly reason: string;
  readonly fence: number;
  readonly generation: number;
  readonly epoch: number;
  readonly epochMembers: readonly string[];
  readonly coordinator: string | undefined;
  /** It holds KV pages or runs requests. */
  readonly busy: boolean;
  readonly heldPages: number;
  /** KV goes between ranks of one format only. */
  readonly kvFormat: string;
}

export interface Member {
  readonly rankId: string;
  readonly incarnation: string;
}

/** What is remembered between steps; all of it is in the status of the group. */
export interface GangMemory {
  /** Generation of the last roster; 0 before the first. */
  readonly rosterGeneration: number;
  readonly rosterMembers: readonly Member[];
  /** When rank pods failed, epoch milliseconds, oldest first. */
  readonly failuresMs: readonly number[];
  /** Pods replaced so far. */
  readonly restarts: number;
  /** Why the last rank failed; empty when none did. */
  readonly lastFailure: string;
}

export interface GangSpec {
  readonly group: string;
  readonly role: "prefill" | "decode";
  readonly revision: string;
  readonly ranks: number;
  readonly minRanks: number;
  /** Time that a rank has to hand over what it holds before it is deleted. */
  readonly drainMs: number;
}

export interface GangObservation {
  readonly spec: GangSpec;
  readonly pods: readonly RankPod[];
  /** By rankId, of the pod's present incarnation only. */
  readonly engines: ReadonlyMap<string, EngineReport>;
  /** For how long each rank's engine has not answered since it last did; absent: it answers or never did. */
  readonly silentForMs: ReadonlyMap<string, number>;
  readonly memory: GangMemory;
  readonly nowMs: number;
  /** Since the oldest gated pod was made; 0 when none is gated. */
  readonly gatedForMs: number;
  /** Bytes that emptying each rank would copy; without an entry: its pages are counted instead. */
  readonly emptyingBytes: ReadonlyMap<string, number>;
  /** Since the first engine of the gang answered; 0 while none did. */
  readonly answeringForMs: number;
}

export function rankIdOf(group: string, ordinal: number): string {
  return `${group}-${String(ordinal)}`;
}
