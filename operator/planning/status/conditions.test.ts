import { describe, expect, it } from "vitest";
import { defaultGangPolicy, planGang } from "../gang/plan.ts";
import type { EngineReport, GangObservation } from "../gang/observed.ts";
import type { PlacementDecision } from "../placement/place.ts";
import { anEngine, aRankPod, anObservation } from "../testing/builders.ts";
import { deploymentConditions, type DeploymentFindings, type GangSummary } from "./deploymentConditions.ts";
import { gangConditions } from "./gangConditions.ts";
import { type ConditionDraft, stampConditions, tellingReason } from "./reason.ts";

function serving(ordinal: number, over: Partial<EngineReport> = {}): readonly [string, EngineReport] {
  return anEngine(ordinal, { generation: 1, epoch: 3, ...over });
}

function conditionsOf(
  over: Partial<GangObservation>,
  placement?: PlacementDecision,
): readonly ConditionDraft[] {
  const observed = anObservation(over);
  return gangConditions({ observed, plan: planGang(observed, defaultGangPolicy), placement });
}

function summary(conditions: readonly ConditionDraft[]): Record<string, string> {
  return Object.fromEntries(conditions.map((one) => [one.type, `${one.status} ${one.reason}`]));
}

const formed = { ...anObservation().memory, rosterGeneration: 1 };

describe("gangConditions", () => {
  it("is whole when every rank serves in one epoch and is Ready", () => {
    const pods = [aRankPod(0), aRankPod(1)];
    const engines = new Map([serving(0), serving(1)]);
    expect(summary(conditionsOf({ pods, engines, memory: formed }))).toEqual({
      Available: "True Serving",
      Progressing: "False Settled",
      Degraded: "False AllRanksServe",
      TopologySatisfied: "True Placed",
      EnginesReady: "True EpochFormed",
    });
  });

  it("is available and degraded when a rank is missing and enough serve", () => {
    const engines = new Map([serving(0, { epochMembers: ["g-0"] })]);
    expect(summary(conditionsOf({ pods: [aRankPod(0)], engines, memory: formed }))).toMatchObject({
      Available: "True Serving",
      Progressing: "True Creating",
      Degraded: "True RanksMissing",
    });
  });

  it("counts no rank of an older epoch and none whose pod is not Ready", () => {
    const pods = [aRankPod(0, { ready: false }), aRankPod(1)];
    const engines = new Map([serving(0), serving(1, { epoch: 2 })]);
    const [available] = conditionsOf({ pods, engines, memory: formed });
    expect(available).toMatchObject({
      status: "False",
      message: expect.stringContaining("0 of 2 ranks serve") as string,
    });
  });

  it("carries the planner's sentence while the gang has no place, and says when the gate timed out", () => {
    const gated = { gated: true, bound: false, phase: "Pending", ready: false, node: undefined };
    const pods = [aRankPod(0, gated), aRankPod(1, gated)];
    const refusal = { placed: false, reason: "NoRoom", choice: "1 of 2 ranks fit", refusals: [] } as const;
    const young = conditionsOf({ pods }, refusal).find((one) => one.type === "TopologySatisfied");
    expect(young).toMatchObject({ status: "False", reason: "NoRoom", message: "1 of 2 ranks fit" });
    const old = conditionsOf({ pods, gatedForMs: 660_000 }, refusal).find(
      (one) => one.type === "TopologySatisfied",
    );
    expect(old).toMatchObject({ reason: "GateTimedOut", message: "no place for 11 min: 1 of 2 ranks fit" });
  });

  it("names the rank that keeps the gang back, and why", () => {
    const pods = [aRankPod(0), aRankPod(1, { ready: false })];
    const engines = new Map([serving(0, { epochMembers: [], epoch: 0, phase: "awaitingRoster" })]);
    const [available] = conditionsOf({ pods, engines });
    expect(available?.message).toBe("0 of 2 ranks serve, 1 are needed; g-0 is awaitingRoster");
  });

  it("is failed for good when the restart budget is spent", () => {
    const failuresMs = Array.from({ length: 13 }, (_, index) => 999_000 + index);
    const memory = { ...formed, failuresMs, lastFailure: "g-1: code 137" };
    const found = summary(conditionsOf({ pods: [aRankPod(0)], memory }));
    expect(found).toMatchObject({
      Progressing: "False RestartBudgetSpent",
      Degraded: "True RestartBudgetSpent",
    });
  });
});

function aGang(name: string, role: GangSummary["role"], over: Partial<GangSummary> = {}): GangSummary {
  const engines = new Map([serving(0), serving(1)]);
  const conditions = conditionsOf({ pods: [aRankPod(0), aRankPod(1)], engines, memory: formed });
  return { name, role, ranks: 2, ranksReady: 2, current: true, conditions, ...over };
}

function deploymentOf(over: Partial<DeploymentFindings>): readonly ConditionDraft[] {
  return deploymentConditions({
    groups: 1,
    gangs: [aGang("g", "prefill"), aGang("d", "decode")],
    gateway: { desired: 1, ready: 1 },
    stateStore: { status: "True", reason: "Answering", message: "the state store answers" },
    rollingOut: [],
    asleep: false,
    scaling: undefined,
    ...over,
  });
}

describe("deploymentConditions", () => {
  it("is available and settled when all gangs and the gateway are", () => {
    const found = deploymentOf({});
    expect(summary(found)).toEqual({
      Available: "True Serving",
      Progressing: "False Settled",
      Degraded: "False AllRanksServe",
      TopologySatisfied: "True Placed",
      EnginesReady: "True EpochFormed",
      StateStoreReachable: "True Answering",
    });
    expect(tellingReason(found)).toBe("Serving");
  });

  it("is not available without a pool or a gateway, and says which", () => {
    const [withoutPool] = deploymentOf({ gangs: [aGang("g", "prefill")] });
    expect(withoutPool).toMatchObject({ status: "False", message: "the decode pool does not serve" });
    const [withoutGateway] = deploymentOf({ gateway: { desired: 1, ready: 0 } });
    expect(withoutGateway).toMatchObject({ status: "False", message: "no gateway pod is ready" });
  });

  it("stays available while the state store is away", () => {
    const found = deploymentOf({
      stateStore: { status: "False", reason: "Unreachable", message: "timeout" },
    });
    expect(summary(found)).toMatchObject({
      Available: "True Serving",
      StateStoreReachable: "False Unreachable",
    });
  });

  it("names the gang whose place is missing, with its sentence", () => {
    const conditions: ConditionDraft[] = [
      { type: "TopologySatisfied", status: "False", reason: "NoRoom", message: "1 of 2 ranks fit" },
    ];
    const found = deploymentOf({ gangs: [aGang("g", "prefill", { conditions }), aGang("d", "decode")] });
    const topology = found.find((one) => one.type === "TopologySatisfied");
    expect(topology).toMatchObject({ status: "False", reason: "NoRoom", message: "g: 1 of 2 ranks fit" });
    expect(tellingReason(found)).toBe("NoRoom");
  });

  it("progresses while gangs wait for their turn in a rollout", () => {
    expect(summary(deploymentOf({ rollingOut: ["d"] }))["Progressing"]).toBe("True RollingOut");
  });
});

describe("stampConditions", () => {
  it("moves the time only when the status changes", () => {
    const draft: ConditionDraft = { type: "Available", status: "True", reason: "Serving", message: "new" };
    const earlier = { type: "Available", status: "True", lastTransitionTime: "2026-01-01T00:00:00Z" };
    const stamp = { observedGeneration: 2, now: "2026-02-02T00:00:00Z" };
    expect(stampConditions([draft], [earlier], stamp)).toEqual([
      { ...draft, observedGeneration: 2, lastTransitionTime: "2026-01-01T00:00:00Z" },
    ]);
    const [changed] = stampConditions([{ ...draft, status: "False" }], [earlier], stamp);
    expect(changed?.lastTransitionTime).toBe("2026-02-02T00:00:00Z");
  });
});
