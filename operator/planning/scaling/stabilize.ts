/** Growth at once; shrinking only to the largest size that was wished for in the window. Turning back costs patience. */
import type { Direction, Role, ScalingMemory, Size } from "./decision.ts";

const reversalWindowMs = 1_800_000;

const ranksOf: Readonly<Record<Role, (size: Size) => number>> = {
  prefill: (size) => size.groups * size.groupSize,
  decode: (size) => size.decodeRanks,
};

/**
 * Who turned back within the last half hour waits twice as long, as it was noise that turned it; but not where load has a
 * season, as turning back is then what was foreseen. Longer windows only keep what a burst once needed.
 */
export function windowMs(memory: ScalingMemory, nowMs: number, at: Patience): number {
  const turned = memory.reversalsMs.some((atMs) => nowMs - atMs < reversalWindowMs);
  return turned && !at.seasonal ? 2 * at.baseMs : at.baseMs;
}

export interface Patience {
  readonly baseMs: number;
  readonly seasonal: boolean;
}

export interface Moment extends Patience {
  readonly nowMs: number;
  /** Group sizes that may be chosen now. */
  readonly groupSizes: readonly number[];
}

export interface Stabilized {
  readonly size: Size;
  /** Roles whose shrinking waits. */
  readonly waiting: readonly Role[];
  readonly wishes: ScalingMemory["wishes"];
}

export function stabilize(memory: ScalingMemory, at: Moment, present: Size, wished: Size): Stabilized {
  const window = windowMs(memory, at.nowMs, at);
  // Bounds may have changed since: a wish for groups that are not allowed any more says nothing.
  const kept = memory.wishes.filter(
    ({ atMs, size }) => at.nowMs - atMs <= window * 2 && at.groupSizes.includes(size.groupSize),
  );
  const wishes = [...kept, { atMs: at.nowMs, size: wished }];
  // A window that was not observed throughout proves nothing; one wish from before it shows that it was.
  const covered = wishes.some((one) => at.nowMs - one.atMs >= window);
  const inWindow = wishes.filter((one) => at.nowMs - one.atMs <= window).map((one) => one.size);
  const waiting: Role[] = [];
  const settle = (role: Role): Size => {
    const ranks = ranksOf[role];
    if (ranks(wished) >= ranks(present)) return wished;
    const largest = inWindow.reduce((a, b) => (ranks(b) > ranks(a) ? b : a), wished);
    if (covered && ranks(largest) < ranks(present)) return largest;
    waiting.push(role);
    return present;
  };
  const { groups, groupSize } = settle("prefill");
  return { size: { groups, groupSize, decodeRanks: settle("decode").decodeRanks }, waiting, wishes };
}

const liveLooks = 5;

/**
 * Live KV as its median over the last few decisions: a backlog that passes through decode in one wave is no load to grow
 * for, and what lasts is in the median after two decisions.
 */
export function settledLiveTokens(
  memory: ScalingMemory,
  now: number,
): { readonly median: number; readonly recent: readonly number[] } {
  const recent = [...(memory.liveContextTokens ?? []), now].slice(-liveLooks);
  const sorted = [...recent].sort((a, b) => a - b);
  return { median: sorted[Math.floor((sorted.length - 1) / 2)] ?? now, recent };
}

/** Memory after a change from one size to another. */
export function remember(
  memory: ScalingMemory,
  nowMs: number,
  change: {
    readonly from: Size;
    readonly to: Size;
    readonly wishes: ScalingMemory["wishes"];
    readonly liveContextTokens: readonly number[];
    readonly sparsity?: NonNullable<ScalingMemory["sparsity"]>;
  },
): ScalingMemory {
  const lastChange = { ...memory.lastChange };
  const reversalsMs = memory.reversalsMs.filter((atMs) => nowMs - atMs < reversalWindowMs);
  for (const role of ["prefill", "decode"] as const) {
    const difference = ranksOf[role](change.to) - ranksOf[role](change.from);
    if (difference === 0) continue;
    const direction: Direction = difference > 0 ? "up" : "down";
    const before = lastChange[role];
    if (before !== undefined && before.direction !== direction && nowMs - before.atMs < reversalWindowMs) {
      reversalsMs.push(nowMs);
    }
    lastChange[role] = { atMs: nowMs, direction };
  }
  const { wishes, liveContextTokens, sparsity } = change;
  const kept = { wishes, liveContextTokens, ...(sparsity !== undefined && { sparsity }) };
  return { ...kept, lastDecisionMs: nowMs, lastChange, reversalsMs };
}
