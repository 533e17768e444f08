/**
 * Who should be in the group now.
 *
 *   living  = pod runs, is not being deleted, and its engine answers or answered a moment ago
 *   leaving = it drains: a decode rank stays in until it has handed over everything; a prefill rank while it is
 *             busy, unless it coordinates, for a coordinator that drains takes no prompts and another must take over
 *   format  = ranks of two KV formats can't form one epoch: the format of more ranks, of equals that which serves
 *   first   = waits for all ranks; after `patienceMs` takes those that answer, if they are minRanks
 *   later   = whoever lives, if they are minRanks: a lost rank leaves at once, a new one joins when it answers
 *
 * A rank that a busy machine silences for a moment stays in; one silent for `silenceMs` is left out, because a
 * group of two can't out-vote a hung peer by itself.
 */
import type { EngineReport, GangObservation, Member, RankPod } from "./observed.ts";

export interface RosterPolicy {
  readonly patienceMs: number;
  readonly silenceMs: number;
}

export const defaultRosterPolicy: RosterPolicy = { patienceMs: 120_000, silenceMs: 15_000 };

export interface RosterPlan {
  readonly generation: number;
  readonly members: readonly Member[];
  /** The members differ from the last roster's. */
  readonly changed: boolean;
  /** Ranks that must be told: they hold an older roster, or none. */
  readonly push: readonly string[];
}

export function planRoster(observed: GangObservation, policy: RosterPolicy): RosterPlan | undefined {
  const { spec, memory } = observed;
  const before = new Set(memory.rosterMembers.map(memberKey));
  const format = rosterFormat(observed);
  const members = observed.pods
    .filter((pod) => spec.role === "decode" || pod.revision === spec.revision)
    .filter((pod) => (observed.engines.get(pod.rankId)?.kvFormat ?? format) === format)
    .filter((pod) => belongs(pod, before.has(memberKey(memberOf(pod))), observed, policy))
    .sort((a, b) => a.ordinal - b.ordinal)
    .map(memberOf);
  const everFormed = memory.rosterGeneration > 0 && memory.rosterMembers.length > 0;
  const patient = !everFormed && observed.answeringForMs < policy.patienceMs;
  if (members.length < (patient ? spec.ranks : spec.minRanks)) return undefined;

  const told = members.flatMap((member) => observed.engines.get(member.rankId) ?? []);
  const newest = Math.max(memory.rosterGeneration, ...told.map((engine) => engine.generation));
  // A newer roster than the remembered one came from a leader that fell before it wrote it down: its members are
  // unknown, so they count as changed.
  const changed = newest > memory.rosterGeneration || !sameMembers(members, memory.rosterMembers);
  const generation = changed ? newest + 1 : Math.max(1, memory.rosterGeneration);
  // All or none: ranks whose rosters carry different fences refuse each other's epochs.
  const stale = told.some((engine) => changed || engine.generation < generation);
  const push = stale ? told.map((engine) => engine.rankId) : [];
  return { generation, members, changed, push };
}

function belongs(pod: RankPod, isMember: boolean, observed: GangObservation, policy: RosterPolicy): boolean {
  if (!podRuns(pod)) return false;
  const engine = observed.engines.get(pod.rankId);
  const ends = pod.deletingForMs !== undefined || engine?.phase === "draining";
  if (ends) return isMember && engine !== undefined && mayFinish(engine, observed.spec.role);
  if (engine !== undefined) return engineCanServe(engine);
  const silentMs = observed.silentForMs.get(pod.rankId) ?? policy.silenceMs;
  return isMember && pod.nodeReady && silentMs < policy.silenceMs;
}

/** Its engine may be asked. */
export function podRuns(pod: RankPod): boolean {
  return pod.phase === "Running" && pod.address !== undefined;
}

function mayFinish(engine: EngineReport, role: GangObservation["spec"]["role"]): boolean {
  const isIn = engine.phase === "serving" || engine.phase === "draining";
  if (role === "decode") return isIn;
  return isIn && engine.busy && engine.coordinator !== engine.rankId;
}

/** The KV format of the roster; undefined while no engine says its own. */
function rosterFormat({ engines }: GangObservation): string | undefined {
  const counts = new Map<string, { count: number; serving: number }>();
  for (const engine of engines.values()) {
    if (engine.phase === "loading" || engine.phase === "failed") continue;
    const { count, serving } = counts.get(engine.kvFormat) ?? { count: 0, serving: 0 };
    const more = engine.phase === "serving" ? 1 : 0;
    counts.set(engine.kvFormat, { count: count + 1, serving: serving + more });
  }
  return [...counts].sort(([, a], [, b]) => b.count - a.count || b.serving - a.serving)[0]?.[0];
}

function engineCanServe(engine: EngineReport): boolean {
  return engine.phase === "awaitingRoster" || engine.phase === "forming" || engine.phase === "serving";
}

function memberOf(pod: RankPod): Member {
  return { rankId: pod.rankId, incarnation: pod.uid };
}

export function memberKey(member: Member): string {
  return `${member.rankId}@${member.incarnation}`;
}

function sameMembers(left: readonly Member[], right: readonly Member[]): boolean {
  return left.map(memberKey).join() === right.map(memberKey).join();
}
