/**
 * The best move from one rank to another.
 *
 *   pages    as many as keep  0 < spread after < spread before  between the two, in the quantity that is balanced,
 *            and raise the pool's maximum of neither quantity
 *   payback  gain per token * remaining tokens > bytes / bandwidth + cost
 *   gain     scan: what the source's step gets shorter; memory: the share of the source's memory that is freed,
 *            counted as that share of a step
 *   kin      of moves that are worth nearly as much, one that brings pages to their request's home, where queries need
 *            no journey, goes before others, and one that takes them from there comes last
 *
 * A move for memory must not widen the spread of scans either; a move for scans may widen that of memory, below
 * its maximum. So moves for scans run out first, then moves for memory: balancing comes to an end.
 */
import { copyMs, newMove, pagesPerMove } from "./budget.ts";
import { amountOf, maximum, type Quantity, type RankLoad } from "./load.ts";
import type { Move } from "./move.ts";
import type { PoolSnapshot, RebalancePolicy, RequestFacts } from "./pool.ts";
import { coldRuns, type PageRun, writtenIn } from "./shards.ts";

/** Rounding of shares must not let a pair swap places. */
const epsilon = 1e-9;

export interface Pair {
  readonly quantity: Quantity;
  readonly from: RankLoad;
  readonly to: RankLoad;
  /** Pages that the destination takes. */
  readonly room: number;
  /** All ranks that are balanced against each other. */
  readonly all: readonly RankLoad[];
}

export interface Search {
  readonly pool: PoolSnapshot;
  readonly policy: RebalancePolicy;
  /** Requests with a move under way. */
  readonly moving: ReadonlySet<string>;
}

export interface Found {
  readonly best: Move | undefined;
  /** Moves that do not pay back, a sentence each. */
  readonly refusals: readonly string[];
}

export function bestMove(search: Search, pair: Pair): Found {
  const { pool, policy, moving } = search;
  const refusals: string[] = [];
  const paying: Paying[] = [];
  const requests = [...pool.requests].sort((a, b) => (a.requestId < b.requestId ? -1 : 1));
  for (const request of requests) {
    if (moving.has(request.requestId) || !request.settled) continue;
    for (const run of coldRuns(request, pair.from.rank.rankId)) {
      const pages = pagesToMove(search, pair, { request, run });
      if (pages < 1) continue;
      const part = { firstPage: run.firstPage, pages };
      const move = newMove(pool, policy, { request, from: pair.from.rank, to: pair.to.rank, run: part });
      const gainMs = gainPerToken(pool, pair, { request, run: part }) * request.remainingTokens;
      const costMs = copyMs(move.bytes, policy) + policy.moveCostMs;
      if (gainMs <= costMs) refusals.push(doesNotPay(move, gainMs, costMs));
      else paying.push({ move, worthMs: gainMs - costMs, kinship: kinship(request, move) });
    }
  }
  return { best: mostWorth(paying)?.move, refusals };
}

/** Of what the best is worth: moves that are worth so much are nearly as good. */
const nearly = 0.5;

interface Paying {
  readonly move: Move;
  readonly worthMs: number;
  readonly kinship: number;
}

function mostWorth(paying: readonly Paying[]): Paying | undefined {
  const most = Math.max(...paying.map(({ worthMs }) => worthMs));
  return paying
    .filter(({ worthMs }) => worthMs >= nearly * most)
    .sort((a, b) => b.kinship - a.kinship || b.worthMs - a.worthMs)
    .at(0);
}

/** 1: pages come home; -1: they leave it; 0: neither. */
function kinship({ home }: RequestFacts, { from, to }: Move): number {
  return Number(to === home) - Number(from === home);
}

interface Part {
  readonly request: RequestFacts;
  readonly run: PageRun;
}

function pagesToMove({ pool, policy }: Search, pair: Pair, part: Part): number {
  const { quantity, from, to, all } = pair;
  const other = quantity === "scan" ? "memory" : "scan";
  const mine = perPage(pair, quantity, part);
  const spread = amountOf(from, quantity) - amountOf(to, quantity);
  if (mine.from <= 0 || spread <= 0) return 0;
  const limits = [part.run.pages, pair.room];
  if (writtenIn(part.request, part.run) > 0) limits.push(pagesPerMove(pool, policy));
  // 0 < spread - n * (from + to): the pair must not change places.
  limits.push(Math.ceil(spread / (mine.from + mine.to) - epsilon) - 1);
  const its = perPage(pair, other, part);
  if (its.to > 0) {
    limits.push(Math.floor((maximum(all, other) - amountOf(to, other)) / its.to + epsilon));
    const otherSpread = amountOf(from, other) - amountOf(to, other);
    if (quantity === "memory") limits.push(Math.floor((2 * otherSpread) / (its.from + its.to) + epsilon));
  }
  return Math.min(...limits);
}

/** What one page of the run takes from the source and adds to the destination. */
function perPage(pair: Pair, quantity: Quantity, { request, run }: Part): { from: number; to: number } {
  if (quantity === "memory") {
    const share = (load: RankLoad): number => 1 / Math.max(1, load.rank.capacityPages);
    return { from: share(pair.from), to: share(pair.to) };
  }
  const bytes = writtenIn(request, run) > 0 ? request.scanBytesPerPage : 0;
  return { from: bytes, to: bytes };
}

function gainPerToken(pool: PoolSnapshot, pair: Pair, part: Part): number {
  const relief = perPage(pair, pair.quantity, part).from * part.run.pages;
  return pair.quantity === "scan" ? (relief / pool.scanBytesPerSecond) * 1000 : relief * pool.stepMs;
}

function doesNotPay(move: Move, gainMs: number, costMs: number): string {
  const what = `${String(move.pages)} pages of ${move.requestId} from ${move.from} to ${move.to}`;
  return `${what} would save ${ms(gainMs)} and cost ${ms(costMs)}`;
}

function ms(value: number): string {
  return `${String(Math.round(value * 10) / 10)} ms`;
}
