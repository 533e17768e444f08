/** The policy that a pool's spec asks for. */
import type { Rebalance } from "../../../crds/schema/rebalance.ts";
import { defaultRebalancePolicy, type RebalancePolicy } from "./pool.ts";

const bytesPerSecondOf = { cpu: 256 * 2 ** 20, cuda: 4 * 2 ** 30 } as const;
/** A move that lasts about so long can be cancelled, and leaves room for another choice, soon enough. */
const moveSeconds = 1;

export function rebalancePolicy(spec: Rebalance, backend: keyof typeof bytesPerSecondOf): RebalancePolicy {
  const bytesPerSecond = spec.bytesPerSecond ?? bytesPerSecondOf[backend];
  const ofOneMove = Math.floor(bytesPerSecond / spec.concurrentMoves) * moveSeconds;
  return {
    ...defaultRebalancePolicy,
    startAt: 1 + spec.imbalancePercent / 100,
    bytesPerSecond,
    concurrentMoves: spec.concurrentMoves,
    moveBytes: Math.min(defaultRebalancePolicy.moveBytes, ofOneMove),
  };
}
