/**
 * A HorizontalPodAutoscaler of each role on utilisation: desired = ceil(active x seen / target), nothing within a tenth
 * of the target, growth to at most twice the pods a look, shrinking to the largest wish of five minutes. Busy time of the
 * prefill ranks and KV in use of the pool are what it looks at, the signals that GPU dashboards have.
 */
import type { Range, Size } from "../../planning/scaling/decision.ts";
import type { Autoscaler } from "./autoscaler.ts";

const everySeconds = 15;
const tolerance = 0.1;
const stabilizationSeconds = 300;

export interface RoleBounds {
  readonly groups: Range;
  readonly decodeRanks: Range;
}

/** `target` of the prefill ranks' busy time, `kvTarget` of the pool's KV, as shares. */
export function horizontalPodAutoscaler(bounds: RoleBounds, target: number, kvTarget: number): Autoscaler {
  const groups = proportional(bounds.groups, target);
  const decodeRanks = proportional(bounds.decodeRanks, kvTarget);
  return {
    name: `HPA, ${told(target)} % busy, ${told(kvTarget)} % KV`,
    everySeconds,
    decide({ active, wanted, nowSeconds, prefillBusyShare, kvShare }): Size {
      return {
        ...wanted,
        groups: groups(active.groups, wanted.groups, prefillBusyShare, nowSeconds),
        decodeRanks: decodeRanks(active.decodeRanks, wanted.decodeRanks, kvShare, nowSeconds),
      };
    },
  };
}

function told(share: number): number {
  return Number((share * 100).toFixed(2));
}

type Proportional = (active: number, wanted: number, seen: number, nowSeconds: number) => number;

function proportional(range: Range, target: number): Proportional {
  let wishes: { readonly atSeconds: number; readonly pods: number }[] = [];
  return (active, wanted, seen, nowSeconds) => {
    const ratio = seen / target;
    const wish = Math.abs(ratio - 1) <= tolerance ? active : Math.ceil(active * ratio);
    const bounded = clamp(Math.min(wish, Math.max(active + 4, 2 * active)), range);
    wishes = wishes.filter(({ atSeconds }) => nowSeconds - atSeconds <= stabilizationSeconds);
    wishes.push({ atSeconds: nowSeconds, pods: bounded });
    if (bounded >= wanted) return bounded;
    return Math.min(wanted, Math.max(...wishes.map(({ pods }) => pods)));
  };
}

export function clamp(value: number, { min, max }: Range): number {
  return Math.min(max, Math.max(min, value));
}
