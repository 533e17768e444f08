/** What prefill ranks count of sparse attention. */
import { eventually } from "./eventually.ts";
import { openPod, pods } from "./world.ts";

const CONTROL_PORT = 9000;

export interface SparseCounters {
  /** Thinned prompts, by the rank that counts most. */
  readonly prompts: number;
  /** Keys and values that came from other ranks. */
  readonly fetchedBytes: number;
  /** Those that exact attention would have fetched beside. */
  readonly skippedBytes: number;
  /** Mean share of attention that the thinned prompts of a rank covered, of the rank where it is least; 1 without any. */
  readonly leastMass: number;
}

/** Of all that the selector finds and that run. */
export async function sparseCounters(selector: string): Promise<SparseCounters> {
  return await eventually("what ranks count", 3 * 60_000, () => countersNow(selector));
}

async function countersNow(selector: string): Promise<SparseCounters> {
  const ranks = (await pods(selector)).filter(({ status }) => status.phase === "Running");
  const each = await Promise.all(ranks.map(({ metadata }) => countersOf(metadata.name)));
  const sum = (name: string): number => each.reduce((total, value) => total + value(name), 0);
  const covered = (value: (name: string) => number): number => {
    const count = value("csps_sparse_mass_covered_count");
    return count === 0 ? 1 : value("csps_sparse_mass_covered_sum") / count;
  };
  return {
    prompts: Math.max(...each.map((value) => value("csps_sparse_mass_covered_count"))),
    fetchedBytes: sum("csps_sparse_fetched_bytes_total"),
    skippedBytes: sum("csps_sparse_skipped_bytes_total"),
    leastMass: Math.min(...each.map(covered)),
  };
}

async function countersOf(rank: string): Promise<(name: string) => number> {
  const door = await openPod(rank, CONTROL_PORT);
  try {
    const answer = await fetch(`${door.url}/metrics`, { signal: AbortSignal.timeout(10_000) });
    const text = await answer.text();
    return (name) => {
      const value = new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1];
      if (value === undefined) throw new Error(`${rank} does not tell ${name}`);
      return Number(value);
    };
  } finally {
    door.close();
  }
}
