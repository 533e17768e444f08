/**
 * What each signal asks for. Growth follows the largest wish; shrinking needs all of them to agree, and is checked for
 * consolidation: the smaller size is laid all the demand, N / (N - 1) of what each rank has now, and must hold it within a share of
 * the objectives.
 */
import type { CostProfile } from "../cost/profile.ts";
import type { ClassDemand, Demand, ScalingInput, Wish } from "./decision.ts";
import {
  bestTbtSeconds,
  decodeHolds,
  type DecodeLoad,
  decodeTarget,
  leastDecodeRanks,
} from "./decodeNeed.ts";
import { allowedGroupSizes } from "./fit.ts";
import {
  areInReach,
  assignDegrees,
  leastPrefill,
  mostGroups,
  prefillingKv,
  targetsOf,
  type PrefillSize,
  type Target,
} from "./prefillNeed.ts";

export interface RoleWish<Wished> {
  readonly wished: Wished;
  /** Signals for which less would do, and those for which it would not. */
  readonly agreeing: readonly string[];
  readonly disagreeing: readonly string[];
  readonly record: readonly Wish[];
}

type Rates = readonly { readonly demand: ClassDemand; readonly ratePerSecond: number }[];

/** Rates of the classes as each prefill signal sees them. */
export function prefillSignals(
  demand: Demand,
  drainSeconds: number,
): readonly (readonly [Wish["signal"], Rates])[] {
  const rates = (of: (one: ClassDemand) => number): Rates =>
    demand.classes.map((one) => ({ demand: one, ratePerSecond: of(one) }));
  return [
    ["arrivals", rates((one) => one.arrivalsPerSecond)],
    ["queue", rates((one) => one.arrivalsPerSecond + one.queued / drainSeconds)],
    ["forecast", rates((one) => one.arrivalsPerSecond * Math.max(1, demand.forecastRatio))],
  ];
}

/**
 * The targets of the most demanding signal, for degrees and for what can't be met.
 *
 * @param other what prompts cost at the other end of sparsity.
 */
export function pressingTargets(
  input: ScalingInput,
  demand: Demand,
  other: CostProfile = input.cost,
): readonly Target[] {
  const { cost, policy } = input;
  const rates = demand.classes.map((one) => ({
    demand: one,
    ratePerSecond:
      one.arrivalsPerSecond * Math.max(1, demand.forecastRatio) + one.queued / policy.drainSeconds,
  }));
  return targetsOf(cost, policy, rates, 1, other);
}

const ranks = (size: PrefillSize): number => size.groups * size.groupSize;

/**
 * @param exact what prompts cost with exact attention, where that differs from what they cost at the cap of sparsity. Choosing
 *   blocks may take longer than it saves: nothing grows for what holds without.
 */
export function wishPrefill(
  input: ScalingInput,
  demand: Demand,
  exact: CostProfile = input.cost,
): RoleWish<PrefillSize> {
  const { cost, policy, current } = input;
  const larger = (a: PrefillSize, b: PrefillSize) => (ranks(b) > ranks(a) ? b : a);
  const record: Wish[] = [];
  const agreeing: string[] = [];
  const disagreeing: string[] = [];
  let up: PrefillSize | undefined;
  let down: PrefillSize | undefined;
  for (const [signal, rates] of prefillSignals(demand, policy.drainSeconds)) {
    const ends = sparsityEnds(input, rates, exact);
    const least = ends
      .map((end) => leastPrefill(end.cost, policy, end.targets, current.groupSize))
      .reduce((a, b) => (a === undefined || (b !== undefined && ranks(b) < ranks(a)) ? b : a), undefined);
    record.push({
      signal,
      role: "prefill",
      gpus: least === undefined ? undefined : ranks(least) * cost.tensorDegree,
    });
    const holds = ends.some((end) => assignDegrees(end.cost, policy, end.targets, current).holds);
    if (!isAllowed(input) || !holds) {
      const wanted = least ?? largestPrefill(cost, input);
      up = up === undefined ? wanted : larger(up, wanted);
    }
    const smaller = easedPrefill(input, rates, exact);
    if (smaller === undefined || ranks(smaller) >= ranks(current)) disagreeing.push(signal);
    else {
      agreeing.push(signal);
      down = down === undefined ? smaller : larger(down, smaller);
    }
  }
  if (up !== undefined) return { wished: up, agreeing: [], disagreeing: [], record };
  const wished = disagreeing.length === 0 && down !== undefined ? down : current;
  return { wished, agreeing, disagreeing, record };
}

/** The cap of sparsity and exact attention, each with its targets; one where they are the same. */
function sparsityEnds({ cost, policy }: ScalingInput, rates: Rates, exact: CostProfile) {
  const capped = { cost, targets: targetsOf(cost, policy, rates, 1, exact) };
  return cost === exact
    ? [capped]
    : [capped, { cost: exact, targets: targetsOf(exact, policy, rates, 1, cost) }];
}

/** What holds with exact attention; where that never meets an objective, what holds at the cap. */
function easedPrefill(
  { cost, policy, current }: ScalingInput,
  rates: Rates,
  exact: CostProfile,
): PrefillSize | undefined {
  const eased = targetsOf(exact, policy, rates, policy.consolidation, cost);
  if (areInReach(eased)) return leastPrefill(exact, policy, eased, current.groupSize);
  const capped = targetsOf(cost, policy, rates, policy.consolidation);
  return leastPrefill(cost, policy, capped, current.groupSize);
}

/** The present group size may have been taken out of the allowed ones. */
export function isAllowed({ cost, policy, current }: ScalingInput): boolean {
  return allowedGroupSizes(cost, policy.bounds).includes(current.groupSize);
}

/** At equal ranks the present group size: else two signals that are both not met would take turns. */
function largestPrefill(cost: CostProfile, { policy, current }: ScalingInput): PrefillSize {
  let largest: PrefillSize = { groups: 0, groupSize: current.groupSize };
  for (const groupSize of allowedGroupSizes(cost, policy.bounds)) {
    const groups = mostGroups(cost, policy.bounds, groupSize);
    const more = groups * groupSize - largest.groups * largest.groupSize;
    if (more > 0 || (more === 0 && groupSize === current.groupSize) || largest.groups === 0)
      largest = { groups, groupSize };
  }
  return largest;
}

export function wishDecode(input: ScalingInput, demand: Demand): RoleWish<number> {
  const { cost, policy, current } = input;
  const range = policy.bounds.decodeRanks;
  const { decode } = demand;
  const tbtSeconds = reachableTbtSeconds(input, demand);
  const record: Wish[] = [];
  const agreeing: string[] = [];
  const disagreeing: string[] = [];
  const up: number[] = [];
  const down: number[] = [];
  const arriving = (ratio: number): DecodeLoad => {
    const rates = demand.classes.map((one) => ({
      demand: one,
      ratePerSecond: one.arrivalsPerSecond * ratio,
    }));
    return {
      ...decode,
      liveContextTokens: 0,
      arrivalsPerSecond: decode.arrivalsPerSecond * ratio,
      prefilling: prefillingKv(cost, targetsOf(cost, policy, rates, 1), current.groupSize),
    };
  };
  const signals: readonly (readonly [Wish["signal"], DecodeLoad])[] = [
    ["arrivals", arriving(1)],
    ["kvMemory", { ...decode, arrivalsPerSecond: 0 }],
    ["forecast", arriving(Math.max(1, demand.forecastRatio))],
  ];
  for (const [signal, load] of signals) {
    const least = leastDecodeRanks(cost, load, decodeTarget(tbtSeconds, 1), range);
    record.push({
      signal,
      role: "decode",
      gpus: least === undefined ? undefined : least * cost.tensorDegree,
    });
    if (!decodeHolds(cost, load, decodeTarget(tbtSeconds, 1), current.decodeRanks))
      up.push(least ?? range.max);
    const smaller = leastDecodeRanks(cost, load, decodeTarget(tbtSeconds, policy.consolidation), range);
    if (smaller === undefined || smaller >= current.decodeRanks) disagreeing.push(signal);
    else {
      agreeing.push(signal);
      down.push(smaller);
    }
  }
  const late = decode.p90TbtSeconds > tbtSeconds;
  record.push({
    signal: "tbt",
    role: "decode",
    gpus: (current.decodeRanks + (late ? 1 : 0)) * cost.tensorDegree,
  });
  if (late) up.push(current.decodeRanks + 1);
  if (decode.p90TbtSeconds > tbtSeconds * policy.consolidation) disagreeing.push("tbt");
  if (up.length > 0) return { wished: Math.max(...up), agreeing: [], disagreeing: [], record };
  const wished = disagreeing.length === 0 ? Math.max(...down) : current.decodeRanks;
  return { wished, agreeing, disagreeing, record };
}

/** The objective, or where no pool reaches it, a quarter above the best step there is. */
export function reachableTbtSeconds({ cost, policy }: ScalingInput, { decode }: Demand): number {
  const best = bestTbtSeconds(cost, decode, policy.bounds.decodeRanks);
  return best * headroom <= policy.tbtSeconds ? policy.tbtSeconds : best * headroom;
}

/** A pool at its very best step serves one request; planning needs room for a batch. */
const headroom = 1.25;
