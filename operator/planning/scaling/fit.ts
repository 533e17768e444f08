/** A wished size made to fit: minimum and maximum, the ratio of roles, the GPU budget. Each that changes it is named. */
import type { CostProfile } from "../cost/profile.ts";
import type { Because, Bounds, Range, ScalingRefusal, Size } from "./decision.ts";

export interface Fitted {
  readonly size: Size;
  readonly refusals: readonly Because<ScalingRefusal>[];
}

export function gpusOf(cost: CostProfile, size: Size): number {
  return (size.groups * size.groupSize + size.decodeRanks) * cost.tensorDegree;
}

const clamp = (value: number, { min, max }: Range): number => Math.min(max, Math.max(min, value));

export function fitSize(cost: CostProfile, bounds: Bounds, present: Size, wished: Size): Fitted {
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

export function describe(size: Size): string {
  return `${size.groups} groups of ${size.groupSize} and ${size.decodeRanks} decode ranks`;
}

/** The smaller role is raised; only at its maximum is the larger one lowered. */
function balance(bounds: Bounds, size: Size): Size {
  const { ratio } = bounds;
  const prefill = size.groups * size.groupSize;
  if (prefill > ratio.max * size.decodeRanks) {
    const decodeRanks = clamp(Math.ceil(prefill / ratio.max), bounds.decodeRanks);
    const groups = Math.min(size.groups, Math.floor((decodeRanks * ratio.max) / size.groupSize));
    return { ...size, decodeRanks, groups: clamp(groups, bounds.groups) };
  }
  if (prefill < ratio.min * size.decodeRanks) {
    const groups = clamp(Math.ceil((ratio.min * size.decodeRanks) / size.groupSize), bounds.groups);
    const decodeRanks = Math.min(size.decodeRanks, Math.floor((groups * size.groupSize) / ratio.min));
    return { ...size, groups, decodeRanks: clamp(decodeRanks, bounds.decodeRanks) };
  }
  return size;
}

/** Both roles go the same share of their way up, the largest share that fits; a present excess is taken back first. */
function withinBudget(cost: CostProfile, bounds: Bounds, present: Size, wished: Size): Size {
  const from = {
    groups: Math.floor((present.groups * present.groupSize) / wished.groupSize),
    decodeRanks: present.decodeRanks,
  };
  const towards = (start: number, end: number, share: number): number =>
    end > start ? start + Math.floor(share * (end - start)) : end;
  const steps = Math.max(wished.groups - from.groups, wished.decodeRanks - from.decodeRanks, 1);
  for (let step = steps; step >= 0; step--) {
    const size = {
      groupSize: wished.groupSize,
      groups: clamp(towards(from.groups, wished.groups, step / steps), bounds.groups),
      decodeRanks: clamp(towards(from.decodeRanks, wished.decodeRanks, step / steps), bounds.decodeRanks),
    };
    if (gpusOf(cost, size) <= bounds.gpuBudget) return size;
  }
  return takeBack(cost, bounds, wished, from);
}

function takeBack(
  cost: CostProfile,
  bounds: Bounds,
  wished: Size,
  from: { readonly groups: number; readonly decodeRanks: number },
): Size {
  let size = {
    groupSize: wished.groupSize,
    groups: clamp(from.groups, bounds.groups),
    decodeRanks: clamp(from.decodeRanks, bounds.decodeRanks),
  };
  while (gpusOf(cost, size) > bounds.gpuBudget) {
    const spareGroups = size.groups - bounds.groups.min;
    const spareRanks = size.decodeRanks - bounds.decodeRanks.min;
    if (spareGroups <= 0 && spareRanks <= 0) return size;
    const fromGroups = spareRanks <= 0 || (spareGroups > 0 && spareGroups * size.groupSize >= spareRanks);
    size = fromGroups ? { ...size, groups: size.groups - 1 } : { ...size, decodeRanks: size.decodeRanks - 1 };
  }
  return size;
}
