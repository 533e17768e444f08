/**
 * Ranks of the decode pool. Live requests follow from arrivals by Little's law, B = rate x output x step(B), so that a
 * pool that is slow now does not ask for more than it will need once it is not. Their KV strays about its mean: with
 * Poisson arrivals B is a Poisson number, so the KV has variance B x mean square of a context, and room is kept for
 *
 *   B context + 1.28 sqrt(B context^2)       nine moments of ten
 */
import { decodeStep } from "../cost/decode.ts";
import { kvTokensOfRank } from "../cost/memory.ts";
import type { CostProfile } from "../cost/profile.ts";
import type { DecodeDemand, Range } from "./decision.ts";

/** Share of the pool's KV that may be planned full; the rest is growth between two decisions. */
const kvShare = 0.95;
const rounds = 60;
/** Standard deviations above the mean that the KV stays below for nine moments of ten. */
const deviations = 1.28;

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
  demand: DecodeDemand,
  target: DecodeTarget,
  ranks: number,
): boolean {
  const tokensPerSecond = demand.arrivalsPerSecond * demand.meanOutputTokens;
  if (tokensPerSecond === 0 && demand.liveContextTokens === 0) return true;
  if (ranks === 0) return false;
  const room = kvTokensOfRank(cost) * ranks * target.kvShare;
  if (demand.liveContextTokens > room) return false;
  const meanSquare = demand.meanSquareContextTokens ?? demand.meanContextTokens ** 2;
  let requests = 1;
  for (let round = 0; round < rounds; round++) {
    const contextTokens = requests * demand.meanContextTokens;
    if (contextTokens + deviations * Math.sqrt(requests * meanSquare) > room) return false;
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
  demand: DecodeDemand,
  target: DecodeTarget,
  range: Range,
): number | undefined {
  for (let ranks = range.min; ranks <= range.max; ranks++) {
    if (decodeHolds(cost, demand, target, ranks)) return ranks;
  }
  return undefined;
}
