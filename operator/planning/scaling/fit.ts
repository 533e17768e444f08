/** A wished size made to fit: minimum and maximum, the ratio of roles, the GPU budget. Each that changes it is named. */
import type { CostProfile } from "../cost/profile.ts";
import type { Because, Bounds, Range, ScalingRefusal, Size } from "./decision.ts";

export interface Fitted {
  readonly size: Size;
  readonly refusals: readonly Because<ScalingRefusal>[];
}

/** GPUs of one rank, of either role. */
type Ranks = Pick<CostProfile, "tensorDegree">;

export function gpusOf(cost: Ranks, size: Size): number {
  return (size.groups * size.groupSize + size.decodeRanks) * cost.tensorDegree;
}

const clamp = (value: number, { min, max }: Range): number => Math.min(max, Math.max(min, value));

export function fitSize(cost: Ranks, bounds: Bounds, present: Size, wished: Size): Fitted {
  const refusals: Because<ScalingRefusal>[] = [];
  const refuse = (code: ScalingRefusal, sentence: string): void => void refusals.push({ code, sentence });
  let size = {
    ...wished,
    groups: clamp(wished.groups, bounds.groups),
    decodeRanks: clamp(wished.decodeRanks, bounds.decodeRanks),
  };
  if (size.groups < wished.groups || size.decodeRanks < wished.decodeRanks) {
    refuse("MaxSize", `${describe(wished)} is above the maximum`);
  }
  if (size.groups > wished.groups || size.decodeRanks > wished.decodeRanks) {
    refuse("MinSize", `${describe(wished)} is below the minimum`);
  }
  const balanced = balance(bounds, size);
  if (balanced.groups !== size.groups || balanced.decodeRanks !== size.decodeRanks) {
    refuse(
      "RatioBound",
      `${describe(size)} becomes ${describe(balanced)} to keep the ratio of prefill to decode`,
    );
  }
  size = balanced;
  if (gpusOf(cost, size) > bounds.gpuBudget) {
    const within = withinBudget(cost, bounds, present, size);
    refuse("GpuBudget", `${describe(size)} exceeds ${bounds.gpuBudget} GPUs; ${describe(within)} fits`);
    size = within;
  }
  return { size, refusals };
}

/** Group sizes whose least total fits the budget. */
export function allowedGroupSizes(cost: Ranks, bounds: Bounds): readonly number[] {
  const { groups, decodeRanks, gpuBudget } = bounds;
  const least = (groupSize: number) => ({ groups: groups.min, groupSize, decodeRanks: decodeRanks.min });
  return bounds.groupSizes.filter((size) => gpusOf(cost, least(size)) <= gpuBudget);
}

/** The size itself where it may be chosen, else the next smaller, else the smallest; undefined where the budget holds none. */
export function nearestGroupSize(cost: Ranks, bounds: Bounds, groupSize: number): number | undefined {
  const sizes = allowedGroupSizes(cost, bounds);
  return sizes.findLast((size) => size <= groupSize) ?? sizes[0];
}

export function describe(size: Size): string {
  return `${size.groups} groups of ${size.groupSize} and ${size.decodeRanks} decode ranks`;
}

/**
 * The smaller role is raised; only at its maximum is the larger one lowered. Where whole groups and ranks come into the ratio
 * only together, both are raised, but not far: the nearest counts that keep its lower bound do as well.
 */
function balance({ groups, decodeRanks, ratio }: Bounds, size: Size): Size {
  const present = ranksBeside(ratio, size);
  if (present.min <= size.decodeRanks && size.decodeRanks <= present.max) return size;
  const needed = wholeAbove((ratio.min * size.decodeRanks) / size.groupSize);
  const least = clamp(Math.max(size.groups, needed), groups);
  for (let count = least; count <= Math.min(groups.max, farthest * least); count++) {
    const { min, max } = ranksBeside(ratio, { ...size, groups: count });
    const raised = Math.max(size.decodeRanks, min);
    if (raised <= Math.min(max, decodeRanks.max)) return { ...size, groups: count, decodeRanks: raised };
  }
  const { min, max } = ranksBeside(ratio, { ...size, groups: least });
  if (min > decodeRanks.max) {
    const held = wholeBelow((ratio.max * decodeRanks.max) / size.groupSize);
    return { ...size, groups: clamp(held, groups), decodeRanks: decodeRanks.max };
  }
  return { ...size, groups: least, decodeRanks: clamp(max, decodeRanks) };
}

/** Times as many groups as one role alone would need. */
const farthest = 2;

/** Decode ranks that keep the ratio with so many groups; none where the minimum is above the maximum. */
function ranksBeside(ratio: Range, { groups, groupSize }: Size): Range {
  const prefill = groups * groupSize;
  return {
    min: wholeAbove(prefill / ratio.max),
    max: ratio.min === 0 ? Infinity : wholeBelow(prefill / ratio.min),
  };
}

/** Ratios are decimal fractions: 29 / 0.29 is a little above 100. */
const rounding = 1e-9;
const wholeAbove = (value: number): number => Math.ceil(value - rounding);
const wholeBelow = (value: number): number => Math.floor(value + rounding);

/** Both roles go the same share of their way up, the largest share that fits; a present excess is taken back first. */
function withinBudget(cost: Ranks, bounds: Bounds, present: Size, wished: Size): Size {
  const from = {
    groups: Math.floor((present.groups * present.groupSize) / wished.groupSize),
    decodeRanks: present.decodeRanks,
  };
  const towards = (start: number, end: number, share: number): number =>
    end > start ? start + Math.floor(share * (end - start)) : end;
  const steps = Math.max(wished.groups - from.groups, wished.decodeRanks - from.decodeRanks, 1);
  const after = (step: number): Size => ({
    groupSize: wished.groupSize,
    groups: clamp(towards(from.groups, wished.groups, step / steps), bounds.groups),
    decodeRanks: clamp(towards(from.decodeRanks, wished.decodeRanks, step / steps), bounds.decodeRanks),
  });
  for (let step = steps; step >= 0; step--) {
    const size = after(step);
    if (gpusOf(cost, size) <= bounds.gpuBudget) return size;
  }
  return takeBack(cost, bounds, after(0));
}

function takeBack(cost: Ranks, bounds: Bounds, excess: Size): Size {
  let size = excess;
  while (gpusOf(cost, size) > bounds.gpuBudget) {
    const spareGroups = size.groups - bounds.groups.min;
    const spareRanks = size.decodeRanks - bounds.decodeRanks.min;
    if (spareGroups <= 0 && spareRanks <= 0) return size;
    const fromGroups = spareRanks <= 0 || (spareGroups > 0 && spareGroups * size.groupSize >= spareRanks);
    size = fromGroups ? { ...size, groups: size.groups - 1 } : { ...size, decodeRanks: size.decodeRanks - 1 };
  }
  return size;
}
