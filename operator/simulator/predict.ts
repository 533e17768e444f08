/**
 * What a deployment would do under a recorded trace: its own size, or its own autoscaler's sizes, played on the cost model
 * of a known model on a known accelerator. Nothing here is measured on the cluster that it is meant for.
 */
import type { CSPSDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import { countBounds } from "../planning/autoscaling/bounds.ts";
import { isScaled, sizeInForce } from "../planning/autoscaling/force.ts";
import { scalingPolicy } from "../planning/autoscaling/policy.ts";
import { h100Nodes, h200Nodes } from "../planning/cost/gpus.ts";
import type { Hardware } from "../planning/cost/hardware.ts";
import { kvTokensOfRank } from "../planning/cost/memory.ts";
import { type CostProfile, deriveProfile } from "../planning/cost/profile.ts";
import type { LengthClass, ScalingPolicy, Size } from "../planning/scaling/decision.ts";
import { classOf, demandByClass } from "../planning/scaling/demand.ts";
import { targetsOf } from "../planning/scaling/prefillNeed.ts";
import { fixedSize } from "./autoscalers/fixed.ts";
import { plannedAutoscaler } from "./autoscalers/planned.ts";
import { knownModelNames, shapeNamed, type NamedShape } from "./knownModels.ts";
import { percent } from "./percent.ts";
import type { Distribution, Objectives } from "./report.ts";
import { simulateScaled } from "./simulateScaled.ts";
import type { Trace } from "./traces/request.ts";

export interface Prediction {
  readonly trace: string;
  readonly synthetic: boolean;
  readonly requests: number;
  /** Which model on which accelerator was reckoned with. */
  readonly profile: string;
  readonly size: Size;
  /** The counts change under way, as the deployment's own autoscaler decides. */
  readonly scaled: boolean;
  readonly ttftSeconds: Distribution;
  readonly tbtSeconds: Distribution;
  /** Share of the requests that meet both objectives. */
  readonly attainment: number;
  readonly gpuHours: number;
  readonly warnings: readonly string[];
}

/** Nothing can be played: nobody knows the model. */
export interface Unpredicted {
  readonly unpredicted: string;
}

const accelerators: Readonly<Record<string, Hardware>> = { h100: h100Nodes, h200: h200Nodes };
const startupSeconds = 60;
/** Objectives are of the tail that one in ten may miss. */
const wantedAttainment = 0.9;

/** The accelerator of that name, or that a node's label `nvidia.com/gpu.product` tells of. @throws with those known. */
export function acceleratorNamed(name: string): Hardware {
  const found = Object.entries(accelerators).find(([known]) => name.toLowerCase().includes(known));
  if (found !== undefined) return found[1];
  throw new Error(`no rates are known of "${name}"; there are ${Object.keys(accelerators).join(", ")}`);
}

export function predict(
  spec: CSPSDeploymentSpec,
  trace: Trace,
  accelerator: string,
): Prediction | Unpredicted {
  const named = shapeNamed(spec.model.name);
  if (named === undefined) return { unpredicted: unknownModel(spec.model.name) };
  const tensorDegree = spec.prefill.tensorParallel.degree;
  const cost = deriveProfile(named.shape, acceleratorNamed(accelerator), tensorDegree);
  const policy = scalingPolicy(spec);
  const size = sizeInForce(spec, undefined);
  const scaled = isScaled(spec);
  const objectives = objectivesOf(policy);
  const { intervalSeconds: everySeconds, windowSeconds } = spec.autoscaling;
  const pace = { everySeconds, startupSeconds };
  const autoscaler = scaled ? plannedAutoscaler(cost, policy, pace) : fixedSize("as stated", size);
  const most = scaled ? countBounds(spec).decodeRanks.max : size.decodeRanks;
  const bounds = { ...policy.bounds, decodeRanks: { ...policy.bounds.decodeRanks, max: most } };
  const run = { trace, cost, autoscaler, start: size, startupSeconds, windowSeconds, objectives };
  const report = simulateScaled({ ...run, policy: { ...policy, bounds } });
  const { ttftSeconds, tbtSeconds, attainment, gpuHours, refused, stuck } = report;
  const requests = trace.requests.length;
  const missed =
    attainment < wantedAttainment
      ? [`${percent(attainment)} of the requests meet both objectives, ${percent(wantedAttainment)} should`]
      : [];
  const left =
    refused + stuck > 0
      ? [`${refused + stuck} of ${requests} requests are too long for the memory of these ranks`]
      : [];
  return {
    trace: trace.name,
    synthetic: trace.synthetic,
    requests,
    profile: `${cost.model.name} on ${cost.hardware.gpu.name}, ${tensorDegree} a rank`,
    size,
    scaled,
    ttftSeconds,
    tbtSeconds,
    attainment,
    gpuHours,
    warnings: [
      ...shapeWarnings(spec, named),
      ...memoryWarnings(cost),
      ...infeasible(cost, policy, size, trace),
      ...left,
      ...missed,
    ],
  };
}

function objectivesOf({ classes, tbtSeconds }: ScalingPolicy): Objectives {
  const byName = new Map(classes.map((one: LengthClass) => [one.name, one.ttftSeconds]));
  return { ttftSeconds: (tokens) => byName.get(classOf(classes, tokens) ?? "") ?? Infinity, tbtSeconds };
}

function unknownModel(name: string): string {
  return (
    `nothing is predicted, for no widths are known of model "${name}": ` +
    `there are those of ${knownModelNames.join(", ")}, by the family and the size in a name`
  );
}

/** What makes it doubtful that these are the widths of this model. */
function shapeWarnings(
  { model, engine }: CSPSDeploymentSpec,
  { shape, family }: NamedShape,
): readonly string[] {
  const heads = (
    [
      ["attentionHeads", model.attentionHeads, shape.queryHeads],
      ["keyValueHeads", model.keyValueHeads, shape.keyValueHeads],
    ] as const
  ).flatMap(([field, stated, reckoned]) =>
    stated === undefined || stated === reckoned
      ? []
      : [`model.${field} is ${stated}, and ${shape.name}, which is reckoned with, has ${reckoned}`],
  );
  const guessed = `the name "${model.name}" tells a size and no family: it is reckoned with the widths of ${shape.name}`;
  const elsewhere = 'engine.backend is "cpu", and the times are those of an accelerator';
  return [...heads, ...(family ? [] : [guessed]), ...(engine.backend === "cpu" ? [elsewhere] : [])];
}

function memoryWarnings(cost: CostProfile): readonly string[] {
  if (kvTokensOfRank(cost) > 0) return [];
  const { model, hardware, tensorDegree } = cost;
  return [`the weights of ${model.name} do not fit ${tensorDegree} x ${hardware.gpu.name}`];
}

/** Classes of the trace whose objective no degree reaches, with the best that there is. */
function infeasible(
  cost: CostProfile,
  policy: ScalingPolicy,
  { groupSize }: Size,
  { requests }: Trace,
): readonly string[] {
  const demand = demandByClass(policy.classes, {
    arrivedTokens: requests.map(({ inputTokens }) => inputTokens),
    queuedTokens: [],
    windowSeconds: Math.max(1, requests.at(-1)?.arrivalSeconds ?? 1),
  });
  const rates = demand.map((one) => ({ demand: one, ratePerSecond: one.arrivalsPerSecond }));
  const groupSizes = [...new Set([...policy.bounds.groupSizes, groupSize])];
  return targetsOf(cost, { ...policy, bounds: { ...policy.bounds, groupSizes } }, rates, 1)
    .filter(({ ttftSeconds }) => ttftSeconds === undefined)
    .map(({ demand: one, bestTtftSeconds }) =>
      Number.isFinite(bestTtftSeconds)
        ? `SLOInfeasible: no degree brings prompts of class ${one.name} under their TTFT; the best is ${bestTtftSeconds.toFixed(2)} s`
        : `prompts of class ${one.name} fit no group`,
    );
}
