/**
 * Group size, number of groups and degree of each class, together. For a size (groups N of G ranks):
 *
 *   start    each class at the smallest degree g whose own time meets its target
 *   repeat   wait(g) = p90 of the queue that all classes make before N G / g servers of g ranks
 *            classes that wait(g) + T(g) leaves late take the next degree
 *   holds    when none is late and the ranks are filled by at most the planned share
 *
 * A class of degree h takes T(h) h / g seconds of such a server. Degrees only rise, so the loop ends; more load never
 * makes a size hold that did not, so the least N is found by halving. Over all G, fewest GPUs win.
 */
import { minimumDegree } from "../cost/memory.ts";
import { attentionShare, prefillSeconds, type CostProfile } from "../cost/profile.ts";
import type { Bounds, ClassDemand, PrefillingKv, ScalingPolicy } from "./decision.ts";
import { allowedGroupSizes } from "./fit.ts";
import { p90WaitSeconds, utilisation, type Work } from "./queueing.ts";

export interface PrefillSize {
  readonly groups: number;
  readonly groupSize: number;
}

/** A degree, and how long the class's long prompts take with it. */
interface Candidate {
  readonly degree: number;
  readonly seconds: number;
}

/** A class with what it must reach: undefined target when no group size can. */
export interface Target {
  readonly demand: ClassDemand;
  readonly ratePerSecond: number;
  readonly ttftSeconds: number | undefined;
  readonly bestTtftSeconds: number;
  /** By allowed group size. */
  readonly options: ReadonlyMap<number, readonly Candidate[]>;
}

export interface Assignment {
  readonly holds: boolean;
  readonly degrees: Readonly<Record<string, number>>;
  readonly p90WaitSeconds: number;
}

/**
 * Targets at a share of the objectives; a class that can only meet the whole objective keeps that.
 *
 * @param other what prompts cost at the other end of sparsity: an objective that is met there is one at every level.
 */
export function targetsOf(
  cost: CostProfile,
  policy: ScalingPolicy,
  demand: readonly { readonly demand: ClassDemand; readonly ratePerSecond: number }[],
  share: number,
  other: CostProfile = cost,
): readonly Target[] {
  const sizes = allowedGroupSizes(cost, policy.bounds);
  const optionsAt = (profile: CostProfile, one: ClassDemand) =>
    new Map(sizes.map((size) => [size, candidates(profile, one, size)]));
  return demand
    .filter((one) => one.ratePerSecond > 0)
    .map((one) => {
      const objective = policy.classes.find(({ name }) => name === one.demand.name)?.ttftSeconds ?? Infinity;
      const options = optionsAt(cost, one.demand);
      const best = fastest(options);
      const reachable = other === cost ? best : Math.min(best, fastest(optionsAt(other, one.demand)));
      const target =
        best <= objective * share ? objective * share : reachable <= objective ? objective : undefined;
      return { ...one, ttftSeconds: target, bestTtftSeconds: best, options };
    });
}

function fastest(options: Target["options"]): number {
  return Math.min(Infinity, ...[...options.values()].flat().map(({ seconds }) => seconds));
}

/** Whether each target that can be met at all is met by an idle group at the cost that it was made of. */
export function areInReach(targets: readonly Target[]): boolean {
  return targets.every((one) => one.ttftSeconds === undefined || one.bestTtftSeconds <= one.ttftSeconds);
}

/** Degrees that share a group evenly and hold the prompt, each faster than the one before. */
function candidates(cost: CostProfile, demand: ClassDemand, groupSize: number): readonly Candidate[] {
  const least = minimumDegree(cost, demand.p90Tokens) ?? Infinity;
  const found: Candidate[] = [];
  for (let degree = 1; degree <= groupSize; degree++) {
    if (groupSize % degree !== 0 || degree < least) continue;
    const seconds = prefillSeconds(cost, demand.p90Tokens, degree);
    if (seconds < (found.at(-1)?.seconds ?? Infinity)) found.push({ degree, seconds });
  }
  return found;
}

function optionsOf(cost: CostProfile, { options, demand }: Target, groupSize: number): readonly Candidate[] {
  return options.get(groupSize) ?? candidates(cost, demand, groupSize);
}

/** Seconds of a server of so many ranks that a prompt of this class takes on average, from the moments of its length. */
function workOf(cost: CostProfile, target: Target, chosen: Candidate, serverRanks: number): Work {
  const { demand } = target;
  const { law } = cost;
  const whole = law.fixedSeconds + exposedPart(cost, target, chosen);
  const squared = law.secondsPerTokenSquared * attentionShare(cost, demand.p90Tokens, chosen.degree);
  const split = (law.secondsPerToken * demand.meanTokens + squared * demand.meanSquareTokens) / chosen.degree;
  const share = chosen.degree / serverRanks;
  return {
    ratePerSecond: target.ratePerSecond,
    seconds: (whole + split) * share,
    squaredSeconds: (chosen.seconds * share) ** 2,
  };
}

/** Communication of the class's long prompts, for all of them. */
function exposedPart(cost: CostProfile, { demand }: Target, chosen: Candidate): number {
  const { law } = cost;
  const squared = law.secondsPerTokenSquared * attentionShare(cost, demand.p90Tokens, chosen.degree);
  const split = law.secondsPerToken * demand.p90Tokens + squared * demand.p90Tokens ** 2;
  return Math.max(0, chosen.seconds - law.fixedSeconds - split / chosen.degree);
}

export function assignDegrees(
  cost: CostProfile,
  policy: ScalingPolicy,
  targets: readonly Target[],
  size: PrefillSize,
): Assignment {
  const options = targets.map((target) => optionsOf(cost, target, size.groupSize));
  const steps = targets.map((target, index) => firstInTime(options[index] ?? [], target, () => 0));
  const degrees = () =>
    Object.fromEntries(
      targets.map((one, index) => [one.demand.name, options[index]?.[steps[index] ?? 0]?.degree ?? 0]),
    );
  if (targets.length > 0 && size.groups === 0)
    return { holds: false, degrees: degrees(), p90WaitSeconds: Infinity };
  const ranks = size.groups * size.groupSize;
  for (;;) {
    const work = (serverRanks: number) =>
      targets.flatMap((target, index) => {
        const chosen = options[index]?.[steps[index] ?? 0];
        return chosen === undefined ? [] : [workOf(cost, target, chosen, serverRanks)];
      });
    const waits = new Map<number, number>();
    const wait = (degree: number): number => {
      const known = waits.get(degree) ?? p90WaitSeconds(work(degree), ranks / degree);
      waits.set(degree, known);
      return known;
    };
    const next = targets.map((target, index) => firstInTime(options[index] ?? [], target, wait));
    const late = targets.some((target, index) => isLate(target, options[index]?.[next[index] ?? 0], wait));
    const moved = next.some((step, index) => step > (steps[index] ?? 0));
    if (late || !moved) {
      const fits = utilisation(work(1), ranks) <= policy.utilisation;
      return { holds: fits && !late, degrees: degrees(), p90WaitSeconds: wait(1) };
    }
    next.forEach((step, index) => (steps[index] = Math.max(step, steps[index] ?? 0)));
  }
}

type WaitOf = (degree: number) => number;

function isLate(target: Target, option: Candidate | undefined, wait: WaitOf): boolean {
  if (target.ttftSeconds === undefined) return false;
  return option === undefined || wait(option.degree) + option.seconds > target.ttftSeconds;
}

/** First degree in time after its wait; the fastest when none is. */
function firstInTime(options: readonly Candidate[], target: Target, wait: WaitOf): number {
  const limit = target.ttftSeconds ?? 0;
  const index = options.findIndex(({ degree, seconds }) => wait(degree) + seconds <= limit);
  return index === -1 ? Math.max(0, options.length - 1) : index;
}

/** KV of the prompts that are prefilled at a time, by Little's law, each class at the least degree in time. */
export function prefillingKv(cost: CostProfile, targets: readonly Target[], groupSize: number): PrefillingKv {
  const held = targets.map((target) => {
    const options = optionsOf(cost, target, groupSize);
    const chosen = options[firstInTime(options, target, () => 0)];
    const seconds = chosen === undefined ? 0 : workOf(cost, target, chosen, chosen.degree).seconds;
    return { prompts: target.ratePerSecond * seconds, demand: target.demand };
  });
  const sum = (of: (demand: ClassDemand) => number) =>
    held.reduce((total, { prompts, demand }) => total + prompts * of(demand), 0);
  return {
    tokens: sum(({ meanTokens }) => meanTokens),
    squaredTokens: sum(({ meanSquareTokens }) => meanSquareTokens),
  };
}

/** The size of fewest GPUs that holds; at equal GPUs the present group size, then the smaller one. */
export function leastPrefill(
  cost: CostProfile,
  policy: ScalingPolicy,
  targets: readonly Target[],
  presentSize: number,
): PrefillSize | undefined {
  let best: PrefillSize | undefined;
  for (const groupSize of allowedGroupSizes(cost, policy.bounds)) {
    const groups = leastGroups(cost, policy, targets, groupSize);
    if (groups === undefined) continue;
    const ranks = groups * groupSize;
    const bestRanks = best === undefined ? Infinity : best.groups * best.groupSize;
    if (ranks < bestRanks || (ranks === bestRanks && groupSize === presentSize)) best = { groups, groupSize };
  }
  return best;
}

/** Most groups of a size that bounds and budget allow. */
export function mostGroups(cost: CostProfile, bounds: Bounds, groupSize: number): number {
  const left = Math.floor(bounds.gpuBudget / cost.tensorDegree) - bounds.decodeRanks.min;
  return Math.min(bounds.groups.max, Math.floor(left / groupSize));
}

function leastGroups(
  cost: CostProfile,
  policy: ScalingPolicy,
  targets: readonly Target[],
  groupSize: number,
): number | undefined {
  const holds = (groups: number) => assignDegrees(cost, policy, targets, { groups, groupSize }).holds;
  let enough = mostGroups(cost, policy.bounds, groupSize);
  if (!holds(enough)) return undefined;
  let low = policy.bounds.groups.min;
  while (low < enough) {
    const middle = Math.floor((low + enough) / 2);
    if (holds(middle)) enough = middle;
    else low = middle + 1;
  }
  return enough;
}
