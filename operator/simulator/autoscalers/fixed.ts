/** Sizes that are known beforehand: one for the whole run, or a plan that has each size ready when its time comes. */
import type { Size } from "../../planning/scaling/decision.ts";
import type { Autoscaler } from "./autoscaler.ts";

export function fixedSize(name: string, size: Size): Autoscaler {
  return { name, everySeconds: 60, decide: () => size };
}

/** A size for each stretch of so many seconds. */
export interface Schedule {
  readonly stretchSeconds: number;
  readonly sizes: readonly Size[];
}

/** Asks for a stretch's ranks a start-up time before it begins, and gives none up before it ends. */
export function scheduled(name: string, schedule: Schedule, startupSeconds: number): Autoscaler {
  const everySeconds = 15;
  return {
    name,
    everySeconds,
    decide({ nowSeconds, wanted }) {
      const stretchAt = (seconds: number) => {
        const index = Math.floor(seconds / schedule.stretchSeconds);
        return schedule.sizes[Math.min(index, schedule.sizes.length - 1)] ?? wanted;
      };
      const [now, soon] = [stretchAt(nowSeconds), stretchAt(nowSeconds + startupSeconds + everySeconds)];
      return {
        groupSize: wanted.groupSize,
        groups: Math.max(now.groups, soon.groups),
        decodeRanks: Math.max(now.decodeRanks, soon.decodeRanks),
      };
    },
  };
}
