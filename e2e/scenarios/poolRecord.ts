/** What happens to a decode pool over time: samples of its inventory, and figures of a window of them. */
import { setTimeout as sleep } from "node:timers/promises";
import type { PoolInventory } from "../../runtime/wire/schema/move.ts";
import { memoryImbalance, operatorsMoves, type PoolAccess } from "./pool.ts";

const EVERY_MS = 300;
/** Answers come between two steps: one that is asked for in every step misses nothing. */
const BETWEEN_LOOKS_MS = 20;

export interface Sample {
  readonly atMs: number;
  readonly imbalance: number;
  /** Tokens that the requests of the pool may still produce, together. */
  readonly remaining: number;
  readonly requests: number;
  /** Moves that are being copied. */
  readonly copying: number;
  readonly stepMs: number;
}

export interface PoolRecord {
  readonly samples: readonly Sample[];
  /** Ends sampling; throws what went wrong. */
  stop(): Promise<void>;
}

export function recordPool(pool: PoolAccess): PoolRecord {
  const samples: Sample[] = [];
  const look = async (): Promise<void> => {
    const inventory = await pool.inventory();
    samples.push({
      atMs: Date.now(),
      imbalance: memoryImbalance(inventory),
      remaining: inventory.requests.reduce((sum, one) => sum + one.remainingTokens, 0),
      requests: inventory.requests.length,
      copying: inventory.moves.filter((move) => move.phase === "copying").length,
      stepMs: inventory.stepMs,
    });
  };
  const ended = new AbortController();
  const sampling = (async () => {
    while (!ended.signal.aborted) {
      await look();
      await sleep(EVERY_MS);
    }
  })();
  // Looked at when it is stopped; until then a failure must not end the process.
  sampling.catch(() => undefined);
  return {
    samples,
    async stop() {
      ended.abort();
      await sampling;
    },
  };
}

/** While `work` lasts: the moves that were committed, whoever coordinated. A coordinator that leaves takes its list along. */
export async function movesDuring(
  pool: PoolAccess,
  work: () => Promise<void>,
): Promise<PoolInventory["moves"]> {
  type Move = PoolInventory["moves"][number];
  // Each coordinator counts its own moves.
  const nameOf = (move: Move): string => `${move.requestId} ${move.moveId}`;
  const known = new Set(operatorsMoves(await pool.inventory()).map(nameOf));
  const seen = new Map<string, Move>();
  const look = async (): Promise<void> => {
    for (const move of operatorsMoves(await pool.inventory()))
      if (!known.has(nameOf(move))) seen.set(nameOf(move), move);
  };
  const ended = new AbortController();
  const looking = (async () => {
    while (!ended.signal.aborted) {
      await look();
      await sleep(BETWEEN_LOOKS_MS);
    }
  })();
  // Looked at in the end; until then a failure must not end the process.
  looking.catch(() => undefined);
  try {
    await work();
  } finally {
    ended.abort();
  }
  await looking;
  await look();
  return [...seen.values()];
}

/** Smallest value that so many percent of all do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
}

/** Of samples between which no request came or went. */
export function tokensPerSecond(samples: readonly Sample[]): number {
  const [first, last] = [samples.at(0), samples.at(-1)];
  if (first === undefined || last === undefined || last.atMs === first.atMs) return 0;
  return ((first.remaining - last.remaining) / (last.atMs - first.atMs)) * 1000;
}

/** The rate at which a run of the same requests went on between the same two numbers of tokens remaining. */
export function rateOver(run: readonly Sample[], part: readonly Sample[]): number {
  const [most, least] = [part.at(0)?.remaining ?? 0, part.at(-1)?.remaining ?? 0];
  const after = run.findIndex((one) => one.remaining <= most);
  const until = run.findLastIndex((one) => one.remaining >= least);
  return after < 0 ? 0 : tokensPerSecond(run.slice(after, until + 1));
}
