/**
 * How many of the ranks decode and how many prefill, decided anew every second or so from what both have to do:
 *
 *   decode least    fewest ranks whose KV has room and whose step is within a share of its objective
 *   decode most     fewest ranks whose step is within a fiftieth of the shortest there is
 *   prefill need    busy ranks of late over the share of them that may be busy, and the queue gone in a second
 *
 * Decode keeps its least, prefill gets its need, and decode what is left up to its most. A rank that changes from decode
 * to prefill first sends its KV to those that stay; `moveSeconds` says how long that takes, and until then it does neither.
 */
import { decodeStep } from "../cost/decode.ts";
import { slowestLink } from "../cost/hardware.ts";
import { kvTokensOfRank } from "../cost/memory.ts";
import { kvBytesPerToken } from "../cost/modelShape.ts";
import type { CostProfile } from "../cost/profile.ts";

export interface SplitLoad {
  readonly ranks: number;
  /** Ranks that decode now. */
  readonly decoding: number;
  readonly requests: number;
  readonly contextTokens: number;
  /** Tokens of KV that are promised to requests, live and to come. */
  readonly promisedTokens: number;
  /** Mean of the ranks that prefilled of late. */
  readonly busyPrefillRanks: number;
  /** Rank-seconds of the prompts that wait. */
  readonly queuedRankSeconds: number;
  readonly tbtSeconds: number;
}

const kvShare = 0.95;
/** Share of the objective that the step is planned for. */
const stepShare = 0.6;
const busyShare = 0.7;
const negligible = 0.02;
const queueGoneSeconds = 1;

export function planSplit(cost: CostProfile, load: SplitLoad): number {
  const most = load.ranks - 1;
  const room = Math.max(1, Math.ceil(load.promisedTokens / (kvTokensOfRank(cost) * kvShare)));
  let least = Math.min(most, room);
  while (least < most && stepOf(cost, load, least) > load.tbtSeconds * stepShare) least += 1;
  const steps = Array.from({ length: most - least + 1 }, (_, index) => stepOf(cost, load, least + index));
  const best = Math.min(...steps);
  const useful = least + steps.findIndex((step) => step <= best * (1 + negligible));
  const prefill = load.busyPrefillRanks / busyShare + load.queuedRankSeconds / queueGoneSeconds;
  return Math.max(least, Math.min(useful, Math.floor(load.ranks - prefill)));
}

/** Seconds in which so many ranks send their KV to those that go on decoding. */
export function moveSeconds(cost: CostProfile, contextTokens: number, from: number, to: number): number {
  if (to >= from) return 0;
  const bytesOfRank = ((contextTokens / from) * kvBytesPerToken(cost.model)) / cost.tensorDegree;
  const link = slowestLink(cost.hardware, from * cost.tensorDegree);
  // What leaves is bound by the senders' links, what arrives by the receivers'.
  const slower = Math.max(1, (from - to) / to);
  return (bytesOfRank * slower) / link.bytesPerSecond;
}

function stepOf(cost: CostProfile, { requests, contextTokens }: SplitLoad, ranks: number): number {
  const { model, hardware, tensorDegree } = cost;
  return decodeStep(model, hardware, { ranks, tensorDegree, requests, contextTokens }).seconds;
}
