/**
 * Plays a gang to its end: the planner decides, a small model of Kubernetes and of the ranks carries it out, and
 * faults strike between the steps. One tick is a second.
 */
import type { EngineReport, GangMemory, GangObservation, GangSpec, RankPod } from "../gang/observed.ts";
import { defaultGangPolicy, type GangPlan, type GangPolicy, planGang } from "../gang/plan.ts";
import { podRuns } from "../gang/roster.ts";
import { servingNow } from "../gang/serving.ts";
import { aRankPod } from "./builders.ts";

export type Fault =
  | { readonly kind: "delete" | "crash" | "hang" | "loseNode"; readonly ordinal: number }
  | { readonly kind: "forget" };

export interface Simulation {
  /** Ticks until the gang served in full for good; undefined when it never did. */
  readonly settledAt: number | undefined;
  readonly plans: readonly GangPlan[];
  readonly observations: readonly GangObservation[];
}

const ticks = 300;
const tickMs = 1_000;

interface State {
  pods: RankPod[];
  engines: Map<string, EngineReport>;
  silentForMs: Map<string, number>;
  memory: GangMemory;
  nowMs: number;
  born: number;
  hung: Set<string>;
}

export interface SpecChange {
  readonly atTick: number;
  readonly spec: GangSpec;
}

/** `faults[n]` strikes at tick `10 * (n + 1)`; `change`: the spec becomes another one. */
export function simulate(
  first: GangSpec,
  faults: readonly Fault[],
  { policy = defaultGangPolicy, change }: { policy?: GangPolicy; change?: SpecChange } = {},
): Simulation {
  const state: State = {
    pods: [],
    engines: new Map(),
    silentForMs: new Map(),
    memory: { rosterGeneration: 0, rosterMembers: [], failuresMs: [], restarts: 0, lastFailure: "" },
    nowMs: 10_000_000,
    born: 0,
    hung: new Set(),
  };
  const plans: GangPlan[] = [];
  const observations: GangObservation[] = [];
  let settledAt: number | undefined;
  for (let tick = 0; tick < ticks; tick++) {
    const spec = change !== undefined && tick >= change.atTick ? change.spec : first;
    const fault = tick % 10 === 0 && tick > 0 ? faults[tick / 10 - 1] : undefined;
    if (fault !== undefined) strike(state, fault);
    advance(state);
    const observed = { ...state, spec, pods: [...state.pods], engines: new Map(state.engines) };
    const unknown = { gatedForMs: 0, answeringForMs: 0, emptyingBytes: new Map<string, number>() };
    const observation: GangObservation = { ...observed, ...unknown };
    const plan = planGang(observation, policy);
    plans.push(plan);
    observations.push(observation);
    perform(state, plan, spec);
    const whole = servingNow({ ...observation, engines: state.engines }).rankIds.length === spec.ranks;
    settledAt = whole ? (settledAt ?? tick) : undefined;
    state.nowMs += tickMs;
  }
  return { settledAt, plans, observations };
}

function strike(state: State, fault: Fault): void {
  if (fault.kind === "forget") {
    // The operator restarts with a status that never recorded the last roster.
    const { rosterGeneration, rosterMembers } = state.memory;
    const members = rosterMembers.slice(1);
    state.memory = {
      ...state.memory,
      rosterGeneration: Math.max(0, rosterGeneration - 1),
      rosterMembers: members,
    };
    return;
  }
  const pod = state.pods.find((one) => one.ordinal === fault.ordinal);
  if (pod === undefined || pod.gated) return;
  if (fault.kind === "hang") state.hung.add(pod.uid);
  if (fault.kind === "delete") replace(state, pod, { deletingForMs: 0 });
  if (fault.kind === "crash") replace(state, pod, { phase: "Failed", ready: false, exitReason: "code 1" });
  if (fault.kind === "loseNode") replace(state, pod, { nodeReady: false, ready: false, deletingForMs: 0 });
}

/** What Kubernetes and the ranks do by themselves within a tick. */
function advance(state: State): void {
  for (const pod of state.pods) {
    if (pod.deletingForMs !== undefined) {
      if (pod.nodeReady && pod.deletingForMs >= 2_000)
        state.pods = state.pods.filter((one) => one.uid !== pod.uid);
      else replace(state, pod, { deletingForMs: pod.deletingForMs + tickMs, ready: false });
    } else if (!pod.gated && pod.phase === "Pending") {
      replace(state, pod, { phase: "Running", bound: true, address: `10.0.0.${String(state.born)}` });
    } else if (state.hung.has(pod.uid) && (state.silentForMs.get(pod.rankId) ?? 0) > 60_000) {
      // The liveness probe ends it.
      replace(state, pod, { phase: "Failed", ready: false, exitReason: "liveness" });
    }
  }
  const answering = state.pods.filter(
    (pod) => podRuns(pod) && pod.deletingForMs === undefined && pod.nodeReady && !state.hung.has(pod.uid),
  );
  for (const rankId of state.engines.keys()) {
    if (!answering.some((pod) => pod.rankId === rankId)) state.engines.delete(rankId);
  }
  for (const pod of state.pods) {
    const answers = answering.includes(pod);
    if (answers) state.silentForMs.delete(pod.rankId);
    else state.silentForMs.set(pod.rankId, (state.silentForMs.get(pod.rankId) ?? 0) + tickMs);
    if (answers && state.engines.get(pod.rankId)?.incarnation !== pod.uid)
      state.engines.set(pod.rankId, fresh(pod));
  }
  formEpoch(state);
  for (const engine of state.engines.values()) handOver(state, engine);
}

/** A serving rank holds five pages; one that drains gets rid of one a tick: moved, or its request ends. */
function handOver(state: State, engine: EngineReport): void {
  if (engine.phase === "serving") state.engines.set(engine.rankId, { ...engine, heldPages: 5, busy: true });
  if (engine.phase !== "draining") return;
  const heldPages = Math.max(0, engine.heldPages - 1);
  const phase = heldPages === 0 ? "drained" : "draining";
  state.engines.set(engine.rankId, { ...engine, heldPages, phase });
}

function fresh(pod: RankPod): EngineReport {
  return {
    rankId: pod.rankId,
    incarnation: pod.uid,
    phase: "awaitingRoster",
    reason: "",
    fence: 0,
    generation: 0,
    epoch: 0,
    epochMembers: [],
    coordinator: undefined,
    busy: false,
    heldPages: 0,
    kvFormat: "f",
  };
}

/** Members that hold the newest roster and are more than half of it serve; others wait. */
function formEpoch(state: State): void {
  const { rosterMembers } = state.memory;
  const newest = Math.max(0, ...[...state.engines.values()].map((engine) => engine.generation));
  if (newest === 0) return;
  const members = [...state.engines.values()].filter(
    (engine) => engine.generation === newest && engine.phase !== "draining" && engine.phase !== "drained",
  );
  const serves = members.length * 2 > rosterMembers.length;
  const ids = members.map((engine) => engine.rankId).sort();
  const epoch = Math.max(...members.map((engine) => engine.epoch));
  const same = members.every((engine) => engine.epochMembers.join() === ids.join());
  for (const engine of members) {
    const joined = { epoch: same ? epoch : epoch + 1, epochMembers: ids, coordinator: ids[0] };
    state.engines.set(engine.rankId, {
      ...engine,
      phase: serves ? "serving" : "forming",
      ...(serves ? joined : {}),
    });
    const pod = state.pods.find((one) => one.uid === engine.incarnation);
    if (pod !== undefined) replace(state, pod, { ready: serves });
  }
}

function perform(state: State, plan: GangPlan, spec: GangSpec): void {
  for (const { pod, cause } of plan.mark)
    replace(state, pod, { leaves: { cause, sinceMs: state.nowMs, pages: 5 } });
  for (const step of plan.drains) {
    const engine = state.engines.get(step.rankId);
    if (step.phase === "StopAdmission" && engine !== undefined)
      state.engines.set(step.rankId, { ...engine, phase: "draining" });
  }
  for (const removal of plan.remove) {
    const pod = state.pods.find((one) => one.uid === removal.uid);
    if (pod === undefined) continue;
    if (removal.force || pod.phase === "Failed") state.pods = state.pods.filter((one) => one !== pod);
    else replace(state, pod, { deletingForMs: 0 });
    if (removal.failure !== undefined) {
      const failuresMs = [...state.memory.failuresMs, state.nowMs];
      state.memory = { ...state.memory, failuresMs, lastFailure: removal.failure };
    }
  }
  for (const ordinal of plan.create) {
    state.born += 1;
    const shape = {
      uid: `uid-${String(state.born)}`,
      gated: true,
      bound: false,
      phase: "Pending",
      ready: false,
    };
    state.pods.push(
      aRankPod(ordinal, { ...shape, node: undefined, address: undefined, revision: spec.revision }),
    );
  }
  for (const pod of plan.place) replace(state, pod, { gated: false, node: `n${String(pod.ordinal)}` });
  const roster = plan.roster;
  if (roster === undefined) return;
  state.memory = { ...state.memory, rosterGeneration: roster.generation, rosterMembers: roster.members };
  for (const rankId of roster.push) {
    const engine = state.engines.get(rankId);
    if (engine !== undefined) state.engines.set(rankId, { ...engine, generation: roster.generation });
  }
}

function replace(state: State, pod: RankPod, change: Partial<RankPod>): void {
  state.pods = state.pods.map((one) => (one.uid === pod.uid ? { ...one, ...change } : one));
}
