/** Inputs that nothing may be concluded from: each gives a reason to keep the present size. */
import type { Because, Bounds, Demand, ScalingInput, ScalingReason } from "./decision.ts";
import { allowedGroupSizes } from "./fit.ts";

/** More than any deployment sees: a counter that wrapped, a unit that was mistaken. */
const absurd = { arrivalsPerSecond: 1e6, tokens: 1e9, seconds: 3600, requests: 1e8 };
/** Time between two decisions beyond which the clock, not the loop, is to blame. */
const longestGapMs = 3_600_000;

type Check = (input: ScalingInput) => Because<ScalingReason> | undefined;

/** The first that applies holds. */
const checks: readonly Check[] = [
  ({ nowMs, memory: { lastDecisionMs } }) =>
    lastDecisionMs !== undefined && (nowMs < lastDecisionMs || nowMs - lastDecisionMs > longestGapMs)
      ? because("ClockStepped", `the clock moved by ${nowMs - lastDecisionMs} ms between two decisions`)
      : undefined,
  ({ store }) => (store?.kind === "fenced" ? because("Fenced", store.why) : undefined),
  ({ policy: { bounds }, cost }) => {
    const { groups, decodeRanks, ratio } = bounds;
    const crossed = [groups, decodeRanks, ratio].some(({ min, max }) => !(min <= max && min >= 0));
    if (crossed) return because("ContradictoryBounds", "a minimum is above its maximum");
    if (allowedGroupSizes(cost, bounds).length > 0) return undefined;
    return noSizeAllowed(bounds);
  },
  ({ pendingPods }) =>
    pendingPods > 0
      ? because("PodsPending", `${pendingPods} pods of the last change do not run yet`)
      : undefined,
  ({ demand }) =>
    demand === undefined
      ? because("MetricsMissing", "arrivals, queues or the KV in use could not be read")
      : undefined,
  ({ nowMs, samples, expectedPods, policy }) => {
    const fresh = new Set(
      samples
        .filter(({ atMs }) => Math.abs(nowMs - atMs) <= policy.maxSampleAgeMs)
        .map(({ podUid }) => podUid),
    );
    const needed = Math.ceil(expectedPods * policy.quorum);
    if (fresh.size >= needed) return undefined;
    return because(
      "MetricsStale",
      `${fresh.size} of ${expectedPods} pods have fresh metrics, ${needed} are needed`,
    );
  },
  ({ demand }) => {
    const found = demand === undefined ? undefined : absurdField(demand);
    return found === undefined ? undefined : because("MetricsAbsurd", `${found} can't be true`);
  },
  ({ uncalibrated }) => (uncalibrated === undefined ? undefined : because("Uncalibrated", uncalibrated)),
];

export function holdReason(input: ScalingInput): Because<ScalingReason> | undefined {
  for (const check of checks) {
    const reason = check(input);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** Why no size lies within the bounds. */
export function noSizeAllowed({ groupSizes, gpuBudget }: Bounds): Because<ScalingReason> {
  const sentence =
    groupSizes.length === 0
      ? "none of the degrees between minimum and maximum divides the model's heads"
      : `the minimum sizes need more than the budget of ${gpuBudget} GPUs`;
  return because("ContradictoryBounds", sentence);
}

function absurdField(demand: Demand): string | undefined {
  const { decode } = demand;
  const fields: (readonly [string, number, number])[] = [
    ["decode arrivals", decode.arrivalsPerSecond, absurd.arrivalsPerSecond],
    ["output tokens", decode.meanOutputTokens, absurd.tokens],
    ["context tokens", decode.meanContextTokens, absurd.tokens],
    ["live context tokens", decode.liveContextTokens, absurd.tokens * 1e3],
    ["time between tokens", decode.p90TbtSeconds, absurd.seconds],
    ["forecast", demand.forecastRatio, 1e3],
  ];
  for (const one of demand.classes) {
    fields.push(
      [`arrivals of ${one.name}`, one.arrivalsPerSecond, absurd.arrivalsPerSecond],
      [`queue of ${one.name}`, one.queued, absurd.requests],
      [`p90 length of ${one.name}`, one.p90Tokens, absurd.tokens],
      [`mean length of ${one.name}`, one.meanTokens, absurd.tokens],
      [`mean square length of ${one.name}`, one.meanSquareTokens, absurd.tokens ** 2],
    );
  }
  const found = fields.find(([, value, most]) => !(value >= 0 && value <= most));
  return found === undefined ? undefined : `${found[0]} of ${found[1]}`;
}

function because(code: ScalingReason, sentence: string): Because<ScalingReason> {
  return { code, sentence };
}
