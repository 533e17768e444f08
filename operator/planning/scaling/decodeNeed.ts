/**
 * Ranks of the decode pool. Live requests follow from arrivals by Little's law, B = rate x output x step(B), so that a
 * pool that is slow now does not ask for more than it will need once it is not. Prompts hold room from before their
 * prefill on. What is held strays about its mean: with Poisson arrivals the number of holders is a Poisson number, so the
 * KV has the variance of a sum of so many squares, and room is kept for
 *
 *   B context + prefilling + 1.64 sqrt(B context^2 + prefilling^2)       nineteen moments of twenty
 *
 * A prompt is late when it waits for ranks or for room; each may cost half of the tenth that the objectives leave.
 */
import { decodeStep } from "../cost/decode.ts";
import { kvTokensOfRank } from "../cost/memory.ts";
import type { CostProfile } from "../cost/profile.ts";
import type { DecodeDemand, PrefillingKv, Range } from "./decision.ts";

/** Share of the pool's KV that may be planned full; the rest is growth between two decisions. */
const kvShare = 0.95;
const rounds = 60;
/** Standard deviations above the mean that the KV stays below for nineteen moments of twenty. */
const deviations = 1.64;
const nothingPrefills: PrefillingKv = { tokens: 0, squaredTokens: 0 };

export interface DecodeLoad extends DecodeDemand {
  readonly prefilling?: PrefillingKv;
}

export interface DecodeTarget {
  readonly tbtSeconds: number;
  readonly kvShare: number;
}

export function decodeTarget(tbtSeconds: number, share: number): DecodeTarget {
  return { tbtSeconds: tbtSeconds * share, kvShare: kvShare * share };
}

/** Whether so many ranks keep the step in time and the KV in memory. */
export function decodeHolds(
  cost: CostProfile,
  demand: DecodeLoad,
  target: DecodeTarget,
  ranks: number,
): boolean {
  const tokensPerSecond = demand.arrivalsPerSecond * demand.meanOutputTokens;
  if (tokensPerSecond === 0 && demand.liveContextTokens === 0) return true;
  if (ranks === 0) return false;
  const room = kvTokensOfRank(cost) * ranks * target.kvShare;
  if (demand.liveContextTokens > room) return false;
  const meanSquare = demand.meanSquareContextTokens ?? demand.meanContextTokens ** 2;
  const { tokens: prefilling, squaredTokens } = demand.prefilling ?? nothingPrefills;
  let requests = 1;
  for (let round = 0; round < rounds; round++) {
    const contextTokens = requests * demand.meanContextTokens;
    const strays = deviations * Math.sqrt(requests * meanSquare + squaredTokens);
    if (contextTokens + prefilling + strays > room) return false;
    const { seconds } = decodeStep(cost.model, cost.hardware, {
      ranks,
      tensorDegree: cost.tensorDegree,
      requests,
      contextTokens,
    });
    if (seconds > target.tbtSeconds) return false;
    const next = Math.max(1, tokensPerSecond * seconds);
    if (next <= requests * (1 + 1e-6)) return true;
    requests = next;
  }
  // Still growing after so many rounds: it creeps towards a limit that is not worth planning with.
  return false;
}

/** Shortest step of a pool of any allowed size with one request: what no number of ranks improves on. */
export function bestTbtSeconds(cost: CostProfile, demand: DecodeDemand, range: Range): number {
  let best = Infinity;
  for (let ranks = Math.max(1, range.min); ranks <= range.max; ranks *= 2) {
    const load = {
      ranks,
      tensorDegree: cost.tensorDegree,
      requests: 1,
      contextTokens: demand.meanContextTokens,
    };
    best = Math.min(best, decodeStep(cost.model, cost.hardware, load).seconds);
  }
  return best;
}

/** Fewest ranks that hold. Pools are tried in turn: a larger one is not always faster. */
export function leastDecodeRanks(
  cost: CostProfile,
  demand: DecodeLoad,
  target: DecodeTarget,
  range: Range,
): number | undefined {
  for (let ranks = range.min; ranks <= range.max; ranks++) {
    if (decodeHolds(cost, demand, target, ranks)) return ranks;
  }
  return undefined;
}
