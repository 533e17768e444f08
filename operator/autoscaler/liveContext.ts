/** How much KV is in use in the decode pool, by its coordinator's last word. */
import type { EngineReading } from "./engineReading.ts";

/** @returns tokens; undefined while no rank speaks for the pool: unknown, which is not none. */
export function liveContextTokens(engines: readonly EngineReading[]): number | undefined {
  const [latest] = engines
    // Between two epochs its coordinator knows of no pool yet.
    .filter(({ role, coordinates, pool }) => role === "decode" && coordinates && pool.total > 0)
    .sort((a, b) => b.atMs - a.atMs);
  return latest && (latest.pool.total - latest.pool.free) * latest.pageTokens;
}
