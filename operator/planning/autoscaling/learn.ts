/**
 * The cost profile as engines report it. Widths of the model and rates of the hardware are stand-ins; what is planned with
 * is scaled to what was measured:
 *
 *   prefill   of the first reports a fifth is taken as fixed, a tenth as quadratic, the rest as linear; each refits that,
 *             a thinned prompt as what exact attention less what it left out would take: so the law is that of exact ones
 *   decode    all rates slowed by the median of measured / predicted steps
 *   memory    such that a rank holds as many tokens as its pages do
 *
 * Communication is not told apart from compute in reports: it is inside the measured times, and links cost nothing more.
 */
import { h100Nodes } from "../cost/gpus.ts";
import { decodeStep } from "../cost/decode.ts";
import type { Hardware } from "../cost/hardware.ts";
import { kvBytesPerToken, llama8b, type ModelShape, weightBytes } from "../cost/modelShape.ts";
import { type CostProfile, deriveProfile, type PrefillLaw, type SparsePrefill } from "../cost/profile.ts";
import { type PrefillReport, type Refit, refittedLaw, refitWith, startRefit } from "../cost/refit.ts";
import { blocks } from "./policy.ts";

export interface NumberedPrefill extends PrefillReport {
  /** Grows with each report of an incarnation. */
  readonly number: number;
}

export interface NumberedDecode {
  readonly number: number;
  readonly rows: number;
  readonly contextTokens: number;
  readonly ranks: number;
  readonly seconds: number;
}

export interface EngineReports {
  readonly incarnation: string;
  readonly prefills: readonly NumberedPrefill[];
  readonly decodes: readonly NumberedDecode[];
}

export interface Learned {
  /** Until there are enough of them to begin with. */
  readonly first: readonly PrefillReport[];
  readonly refit: Refit | undefined;
  readonly decodes: readonly NumberedDecode[];
  /** The last prompts that were thinned. */
  readonly thinned: readonly PrefillReport[];
  /** Last report taken in, by incarnation. */
  readonly taken: Readonly<Record<string, { readonly prefill: number; readonly decode: number }>>;
}

export interface ModelFacts {
  readonly name: string;
  readonly attentionHeads: number | undefined;
  readonly keyValueHeads: number | undefined;
  readonly tensorDegree: number;
  /** Tokens that the pages of one decode rank hold. */
  readonly kvTokensOfRank: number;
  /** Attention that prompts are served with now, where the planner says so. */
  readonly sparse?: SparsePrefill | undefined;
  /** Groups thin prompts as they see fit: what they told of is what is planned with. */
  readonly thins?: boolean;
}

export const nothingLearned: Learned = {
  first: [],
  refit: undefined,
  decodes: [],
  thinned: [],
  taken: {},
};

/** Fewer reports could all be of the same odd prompt. */
export const leastReports = 3;
const mostDecodes = 64;
const mostThinned = 32;
const usableShare = 0.9;

const freeLink = {
  name: "inside the measured times",
  bytesPerSecond: 1e15,
  ringBytesPerSecond: 1e15,
  latencySeconds: 0,
};
const standIn: Hardware = { ...h100Nodes, nodeLink: freeLink, networkLink: freeLink };

export function learn(learned: Learned, facts: ModelFacts, all: readonly EngineReports[]): Learned {
  let next: Learned = { ...learned, taken: {} };
  const taken: Record<string, { prefill: number; decode: number }> = {};
  for (const { incarnation, prefills, decodes } of all) {
    const before = learned.taken[incarnation] ?? { prefill: -1, decode: -1 };
    for (const report of prefills)
      if (report.number > before.prefill) next = withPrefill(next, facts, report);
    const fresh = decodes.filter(({ number, seconds }) => number > before.decode && seconds > 0);
    next = { ...next, decodes: [...next.decodes, ...fresh].slice(-mostDecodes) };
    taken[incarnation] = {
      prefill: Math.max(before.prefill, ...prefills.map(({ number }) => number)),
      decode: Math.max(before.decode, ...decodes.map(({ number }) => number)),
    };
  }
  return { ...next, taken };
}

function withPrefill(learned: Learned, facts: ModelFacts, report: PrefillReport): Learned {
  const bare = standInProfile(facts);
  const taken = (refit: Refit, one: PrefillReport): Refit =>
    refitWith(refit, { ...bare, ...asComputed(one), law: refit.prior }, one);
  const thinned = [...learned.thinned, ...(report.sparse === undefined ? [] : [report])].slice(-mostThinned);
  if (learned.refit !== undefined) return { ...learned, thinned, refit: taken(learned.refit, report) };
  if (!(report.tokens >= 1 && report.degree >= 1 && report.seconds > 0)) return learned;
  const first = [...learned.first, report];
  if (first.length < leastReports) return { ...learned, thinned, first };
  return { ...learned, thinned, first: [], refit: first.reduce(taken, startRefit(lawOfFirst(first))) };
}

/** Of a profile: how the prompt of a report was thinned. */
function asComputed({ sparse }: PrefillReport): Pick<CostProfile, "sparse"> {
  return sparse === undefined ? {} : { sparse: thinnedTo(sparse.fetchedShare ?? 1, 0) };
}

function thinnedTo(budget: number, denseUpToTokens: number): SparsePrefill {
  return { selection: { ...blocks, budget }, denseUpToTokens };
}

/** What groups that choose by themselves thin, and how far. */
function asThinned({ thinned }: Learned): Pick<CostProfile, "sparse"> {
  if (thinned.length === 0) return {};
  const budget = median(thinned.map(({ sparse }) => sparse?.fetchedShare ?? 1));
  return { sparse: thinnedTo(budget, Math.min(...thinned.map(({ tokens }) => tokens)) - 1) };
}

/** Why there is nothing to plan with yet, as a sentence; undefined when there is. */
export function notYetLearned({ refit, first }: Learned): string | undefined {
  if (refit !== undefined) return undefined;
  return `engines have reported ${first.length} of ${leastReports} prompts, and without them the cost of one is not known`;
}

export function profileOf(learned: Learned, facts: ModelFacts): CostProfile {
  const bare = standInProfile(facts);
  const { model, tensorDegree } = bare;
  const factor = median(
    learned.decodes.map(({ rows, contextTokens, ranks, seconds }) => {
      const load = { ranks, tensorDegree, requests: rows, contextTokens };
      return seconds / decodeStep(model, bare.hardware, load).seconds;
    }),
  );
  const hardware = slowed(bare.hardware, learned.decodes.length === 0 ? 1 : factor);
  const law = learned.refit === undefined ? bare.law : refittedLaw(learned.refit);
  const sparse =
    facts.sparse === undefined ? facts.thins === true && asThinned(learned) : { sparse: facts.sparse };
  return { ...bare, ...sparse, hardware, law };
}

function standInProfile(facts: ModelFacts): CostProfile {
  const heads = facts.attentionHeads ?? llama8b.queryHeads;
  const model: ModelShape = {
    ...llama8b,
    name: facts.name,
    // Narrow: what a prompt needs beside its KV is not known, and must not forbid a degree.
    hidden: 512,
    feedForward: 1_024,
    queryHeads: heads,
    keyValueHeads: facts.keyValueHeads ?? heads,
  };
  const bytes = facts.kvTokensOfRank * kvBytesPerToken(model) + weightBytes(model);
  // A token more than the pages hold: shares and roundings must not take one away.
  const memoryBytes = (bytes / facts.tensorDegree + kvBytesPerToken(model)) / usableShare;
  const hardware = { ...standIn, gpu: { ...standIn.gpu, memoryBytes } };
  return { ...deriveProfile(model, hardware, facts.tensorDegree), linksInLaw: true };
}

const shares = { fixed: 0.2, linear: 0.7, quadratic: 0.1 };

function lawOfFirst(first: readonly PrefillReport[]): PrefillLaw {
  const middle = (of: (one: PrefillReport) => number): number => median(first.map(of));
  return {
    fixedSeconds: middle(({ seconds }) => seconds * shares.fixed),
    secondsPerToken: middle(({ seconds, degree, tokens }) => (seconds * shares.linear * degree) / tokens),
    secondsPerTokenSquared: middle(
      ({ seconds, degree, tokens }) => (seconds * shares.quadratic * degree) / tokens ** 2,
    ),
  };
}

function slowed(hardware: Hardware, factor: number): Hardware {
  const { gpu } = hardware;
  return {
    ...hardware,
    gpu: {
      ...gpu,
      flops: gpu.flops / factor,
      weightBytesPerSecond: gpu.weightBytesPerSecond / factor,
      scanBytesPerSecond: gpu.scanBytesPerSecond / factor,
      layerSeconds: gpu.layerSeconds * factor,
      pieceSeconds: gpu.pieceSeconds * factor,
    },
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 1;
}
