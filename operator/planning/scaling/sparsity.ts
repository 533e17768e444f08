/**
 * Sparse attention as a knob: prompts of the longest classes are thinned first, as they gain most. Level 0 is exact, the
 * highest level the deployment's cap; what engines hold as their quality floor holds at each.
 *
 *   gaining     where no prompt that comes may be faster for it, the level is 0
 *   growing     no rank is added while the present ones hold the load at the cap; when some are, the cap stays
 *   else        at once the least level at which the ranks hold every signal
 *   lowering    to the largest level wished for in the window, each with room to spare
 *   shrinking   only what holds with exact attention is given up, so the level falls before ranks go; where only thinning
 *               meets an objective, what holds at the cap
 *
 * More load never makes a level hold that did not, so ranks and then level grow with it.
 */
import { type CostProfile, prefillSeconds, type SparsePrefill } from "../cost/profile.ts";
import type { Demand, ScalingInput, ScalingMemory, ScalingPolicy, Size } from "./decision.ts";
import { assignDegrees, targetsOf } from "./prefillNeed.ts";
import { prefillSignals } from "./wishes.ts";

export interface Sparsity {
  readonly level: number;
  /** Prompts of more tokens are thinned; undefined: none is. */
  readonly aboveTokens: number | undefined;
  /** What is left to the next decision. */
  readonly memory: NonNullable<ScalingMemory["sparsity"]>;
}

/** The highest level; 0 where attention has to be exact. */
export function highestLevel({ classes, sparse }: ScalingPolicy): number {
  if (sparse === undefined) return 0;
  return classes.filter(({ upToTokens }) => upToTokens > sparse.denseUpToTokens).length;
}

/** Prompts of at most so many tokens stay exact at a level; undefined: all do. */
export function denseUpTo({ classes, sparse }: ScalingPolicy, level: number): number | undefined {
  if (sparse === undefined || level === 0) return undefined;
  const below = classes.at(-level - 1)?.upToTokens ?? 0;
  return Math.max(sparse.denseUpToTokens, below);
}

/** Attention that prompts are served with at a level; undefined: exact, or there is no knob. */
export function sparseAt(policy: ScalingPolicy, level: number): SparsePrefill | undefined {
  const denseUpToTokens = denseUpTo(policy, level);
  return policy.sparse === undefined || denseUpToTokens === undefined
    ? undefined
    : { ...policy.sparse, denseUpToTokens };
}

/** What prompts cost at a level, choosing of blocks included. Where there is no knob the cost is as it is. */
export function costAt({ cost, policy }: ScalingInput, level: number): CostProfile {
  if (policy.sparse === undefined) return cost;
  const { sparse: _, ...exact } = cost;
  const sparse = sparseAt(policy, level);
  return sparse === undefined ? exact : { ...exact, sparse };
}

/** @param size that is decided on. */
export function planSparsity(input: ScalingInput, demand: Demand, size: Size): Sparsity | undefined {
  const { nowMs, policy, current, memory } = input;
  const most = highestLevel(policy);
  if (most === 0) return undefined;
  const before = memory.sparsity ?? { level: 0, wishes: [] };
  const present = Math.min(most, before.level);
  const grows = size.groups * size.groupSize > current.groups * current.groupSize;
  const least = (share: number) => {
    if (!gains(input, demand, size)) return 0;
    return grows ? most : leastLevel(input, demand, { size, share, most });
  };
  const needed = least(1);
  const spared = Math.max(needed, least(policy.consolidation));
  const kept = before.wishes.filter((one) => nowMs - one.atMs <= 2 * policy.stabilizationMs);
  const wishes = [...kept, { atMs: nowMs, level: spared }];
  const covered = wishes.some((one) => nowMs - one.atMs >= policy.stabilizationMs);
  const inWindow = wishes.filter((one) => nowMs - one.atMs <= policy.stabilizationMs);
  const lowered = Math.max(...inWindow.map((one) => one.level));
  const level = needed > present ? needed : covered ? Math.min(present, lowered) : present;
  return { level, aboveTokens: denseUpTo(policy, level), memory: { level, wishes } };
}

/**
 * Whether some prompts that come may be faster for being thinned as far as the cap goes; on one rank none are. What is saved
 * on links can't be foreseen where their time is part of the law: there ranks, which measure their links, keep a prompt exact
 * for which thinning does not pay.
 */
function gains(input: ScalingInput, demand: Demand, { groupSize }: Size): boolean {
  const most = highestLevel(input.policy);
  const coming = demand.classes.filter((one) => one.arrivalsPerSecond > 0 || one.queued > 0);
  if (input.cost.linksInLaw === true) {
    const exactUpTo = denseUpTo(input.policy, most) ?? Infinity;
    return groupSize > 1 && coming.some(({ p90Tokens }) => p90Tokens > exactUpTo);
  }
  const [exact, thinned] = [costAt(input, 0), costAt(input, most)];
  return coming.some(
    ({ p90Tokens }) =>
      prefillSeconds(thinned, p90Tokens, groupSize) < prefillSeconds(exact, p90Tokens, groupSize),
  );
}

function leastLevel(
  input: ScalingInput,
  demand: Demand,
  { size, share, most }: { readonly size: Size; readonly share: number; readonly most: number },
): number {
  const { policy } = input;
  const atCap = costAt(input, most);
  for (let level = 0; level < most; level++) {
    const cost = costAt(input, level);
    const holds = prefillSignals(demand, policy.drainSeconds).every(
      ([, rates]) => assignDegrees(cost, policy, targetsOf(cost, policy, rates, share, atCap), size).holds,
    );
    if (holds) return level;
  }
  return most;
}
