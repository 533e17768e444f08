/** From looks to the planner's input. Takes what was seen into the memory. */
import type { CSPSDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import type { CSPSDeployment } from "../kube/object.ts";
import { demandOf, isIdle, promptTokensPerSecond } from "../planning/autoscaling/demand.ts";
import { learn, type ModelFacts, notYetLearned, profileOf } from "../planning/autoscaling/learn.ts";
import { foresee, lookedAt } from "../planning/autoscaling/outlook.ts";
import { quorum, scalingPolicy } from "../planning/autoscaling/policy.ts";
import { type GatewayReading, growthOf } from "../planning/autoscaling/reading.ts";
import type { Demand, ScalingInput, Size } from "../planning/scaling/decision.ts";
import { sparseAt } from "../planning/scaling/sparsity.ts";
import type { AutoscalerContext } from "./context.ts";
import type { EngineReading } from "./engineReading.ts";
import { liveContextTokens } from "./liveContext.ts";
import { type DeploymentMemory, keepReading } from "./memory.ts";
import type { Look } from "./observe.ts";
import { pendingRanks } from "./pending.ts";

export interface Subject {
  readonly deployment: CSPSDeployment;
  readonly spec: CSPSDeploymentSpec;
  readonly memory: DeploymentMemory;
  readonly current: Size;
}

export function scalingInput(context: AutoscalerContext, subject: Subject, look: Look): ScalingInput {
  const { spec, memory, current, deployment } = subject;
  const nowMs = context.steadyMs();
  takeIn(subject, look, nowMs);
  const policy = scalingPolicy(spec);
  const byPod = look.gateways.map(({ metadata }) => memory.readings.get(metadata.uid) ?? []);
  const isFresh = (one: { readonly atMs: number } | undefined): boolean =>
    nowMs - (one?.atMs ?? 0) <= policy.maxSampleAgeMs;
  const fresh = byPod.filter((readings) => isFresh(readings.at(-1)));
  const engines = [...memory.engines.values()].filter(isFresh);
  const known = look.gateways.length > 0 && fresh.length >= Math.ceil(look.gateways.length * quorum);
  const pendingPods = pendingRanks(context, deployment, current);
  noteLead(memory, pendingPods, nowMs);
  const facts = modelFacts(subject);
  const { scaleToZero } = spec.autoscaling;
  return {
    nowMs: Math.round(nowMs),
    policy,
    cost: profileOf(memory.learned, facts),
    current,
    pendingPods,
    expectedPods: look.gateways.length + look.ranks.length,
    samples: samplesOf(fresh, engines),
    demand: known ? demandNow(subject, look, { byPod: fresh, engines }) : undefined,
    memory: memory.planner,
    uncalibrated: uncalibrated(memory),
    store: look.store,
    zero: scaleToZero.enabled
      ? {
          afterIdleMs: scaleToZero.idleSeconds * 1000,
          idleForMs: known ? Math.round(nowMs - memory.askedMs) : undefined,
          waiting: look.readings.reduce((sum, { waitingForRanks }) => sum + waitingForRanks, 0),
        }
      : undefined,
  };
}

function takeIn({ spec, memory, ...subject }: Subject, look: Look, nowMs: number): void {
  const windowMs = spec.autoscaling.windowSeconds * 1000;
  const sum = { prompts: 0, tokens: 0, squaredTokens: 0 };
  for (const reading of look.readings) {
    const before = memory.readings.get(reading.podUid)?.at(-1);
    keepReading(memory, reading, windowMs);
    if (before === undefined) continue;
    for (const one of Object.values(growthOf([before, reading])?.classes ?? {})) {
      sum.prompts += one.arrived;
      sum.tokens += one.tokens;
      sum.squaredTokens += one.squared;
    }
  }
  forgetOthers(
    memory.readings,
    look.gateways.map(({ metadata }) => metadata.uid),
  );
  memory.outlook = lookedAt(memory.outlook, sum, nowMs);
  // Of the last step only: a window that reaches far back would keep an idle deployment awake for its length.
  const lastTwo = [...memory.readings.values()].map((readings) => readings.slice(-2));
  if (!isIdle(lastTwo)) memory.askedMs = nowMs;
  for (const reading of look.engines) memory.engines.set(reading.podUid, reading);
  forgetOthers(
    memory.engines,
    look.ranks.map(({ uid }) => uid),
  );
  const holder = look.engines.find(({ role, pages }) => role === "decode" && pages.total > 0);
  if (holder !== undefined) memory.kvTokensOfRank = holder.pages.total * holder.pageTokens;
  memory.learned = learn(memory.learned, modelFacts({ spec, memory, ...subject }), look.reports);
}

/** What was read of pods that are gone. */
function forgetOthers(byPod: Map<string, unknown>, present: readonly string[]): void {
  for (const uid of [...byPod.keys()]) if (!present.includes(uid)) byPod.delete(uid);
}

function modelFacts({ spec, memory }: Pick<Subject, "spec" | "memory">): ModelFacts {
  const { name, attentionHeads, keyValueHeads } = spec.model;
  const tensorDegree = spec.prefill.tensorParallel.degree;
  const policy = scalingPolicy(spec);
  const sparse = sparseAt(policy, memory.planner.sparsity?.level ?? 0);
  const thins = policy.sparse === undefined && spec.prefill.sparseAttention.mode !== "Disabled";
  const { kvTokensOfRank } = memory;
  return { name, attentionHeads, keyValueHeads, tensorDegree, kvTokensOfRank, sparse, thins };
}

function uncalibrated({ learned, kvTokensOfRank }: DeploymentMemory): string | undefined {
  return kvTokensOfRank === 0 ? "no decode rank has told how much KV it holds" : notYetLearned(learned);
}

function demandNow(
  { spec, memory, current }: Subject,
  look: Look,
  {
    byPod,
    engines,
  }: {
    readonly byPod: readonly (readonly GatewayReading[])[];
    readonly engines: readonly EngineReading[];
  },
): Demand | undefined {
  const pooled = current.decodeRanks > 0 && look.decodeRanks > 0;
  const live = pooled ? liveContextTokens(engines) : 0;
  if (live === undefined) return undefined;
  const demand = demandOf({
    classes: scalingPolicy(spec).classes,
    byPod,
    gateways: look.gateways.length,
    liveContextTokens: live,
  });
  if (demand === undefined) return undefined;
  const { leadSeconds, outlook } = memory;
  const tokensPerSecond = promptTokensPerSecond(demand);
  return { ...demand, ...foresee(outlook, { leadSeconds, tokensPerSecond }) };
}

function samplesOf(
  fresh: readonly (readonly GatewayReading[])[],
  engines: readonly EngineReading[],
): ScalingInput["samples"] {
  const gateways = fresh.flatMap((readings) => readings.at(-1) ?? []);
  return [...gateways, ...engines].map(({ podUid, atMs }) => ({ podUid, atMs: Math.round(atMs) }));
}

/** Measures how long ranks that were asked for take to serve: that far ahead arrivals are predicted. */
function noteLead(memory: DeploymentMemory, pendingPods: number, nowMs: number): void {
  if (pendingPods > 0) memory.growingSinceMs ??= nowMs;
  else if (memory.growingSinceMs !== undefined) {
    memory.leadSeconds = (nowMs - memory.growingSinceMs) / 1000;
    memory.growingSinceMs = undefined;
  }
}
