/** Nothing shrinks while the state store is away: where KV lies can't be told, and what is given up can't be had back. */
import type { Because, ScalingInput, ScalingRefusal, Size } from "./decision.ts";
import { describe } from "./fit.ts";

export interface Frozen {
  readonly size: Size;
  readonly refusals: readonly Because<ScalingRefusal>[];
}

/** @param present what is kept of a role that would shrink. */
export function freezeShrinking({ store }: ScalingInput, present: Size, wished: Size): Frozen {
  if (store?.kind !== "away") return { size: wished, refusals: [] };
  const fewer = wished.groups * wished.groupSize < present.groups * present.groupSize;
  const { groups, groupSize } = fewer ? present : wished;
  const size = { groups, groupSize, decodeRanks: Math.max(present.decodeRanks, wished.decodeRanks) };
  if (describe(size) === describe(wished)) return { size, refusals: [] };
  const sentence = `nothing shrinks to ${describe(wished)}: ${store.why}`;
  return { size, refusals: [{ code: "StateStoreAway", sentence }] };
}
