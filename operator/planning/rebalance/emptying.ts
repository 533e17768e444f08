/** What it would cost to empty each rank of a pool: how the rank that leaves is chosen. */
import type { PoolSnapshot } from "./pool.ts";
import { writtenIn } from "./shards.ts";

/** Bytes that would be copied, by rankId; reserved pages that hold nothing cost nothing. */
export function emptyingBytes(pool: PoolSnapshot): ReadonlyMap<string, number> {
  const bytes = new Map(pool.ranks.map((rank) => [rank.rankId, 0]));
  for (const request of pool.requests) {
    for (const { rankId, ...run } of request.shards)
      bytes.set(rankId, (bytes.get(rankId) ?? 0) + writtenIn(request, run) * pool.pageBytes);
  }
  return bytes;
}
