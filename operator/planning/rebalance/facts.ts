/** Facts that can't be true: nothing is planned on them, and the sentence says which. */
import type { PoolSnapshot, RankFacts, RequestFacts } from "./pool.ts";

/** Empty when the pool can be planned on. */
export function absurdFacts(pool: PoolSnapshot): readonly string[] {
  const { pageBytes, stepMs, scanBytesPerSecond } = pool;
  return [
    ...absurdCounts("the pool", { stepMs, scanBytesPerSecond }),
    ...(Number.isFinite(pageBytes) && pageBytes > 0 ? [] : [`the pool has pageBytes ${String(pageBytes)}`]),
    ...pool.ranks.flatMap(absurdRank),
    ...pool.requests.flatMap((request) => absurdRequest(request, pool)),
  ];
}

function absurdRank(rank: RankFacts): readonly string[] {
  const { rankId, capacityPages, freePages, scanBytesPerStep, ageMs, reportAgeMs } = rank;
  const counts = { capacityPages, freePages, scanBytesPerStep, ageMs, reportAgeMs };
  const found = absurdCounts(rankId, counts);
  if (freePages > capacityPages)
    found.push(`${rankId} has ${String(freePages)} pages free of ${String(capacityPages)}`);
  return found;
}

function absurdRequest(request: RequestFacts, pool: PoolSnapshot): readonly string[] {
  const { requestId, writtenPages, remainingTokens, scanBytesPerPage } = request;
  const found = absurdCounts(requestId, { writtenPages, remainingTokens, scanBytesPerPage });
  let next = 0;
  for (const shard of request.shards) {
    if (shard.firstPage !== next || !(shard.pages > 0))
      found.push(`${requestId} has a gap or an overlap in its map at page ${String(next)}`);
    if (!pool.ranks.some((rank) => rank.rankId === shard.rankId))
      found.push(`${requestId} has pages on ${shard.rankId}, which is not in the pool`);
    next = shard.firstPage + shard.pages;
  }
  if (writtenPages > next)
    found.push(`${requestId} has written ${String(writtenPages)} of ${String(next)} pages`);
  return found;
}

function absurdCounts(of: string, counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts)
    .filter(([, value]) => !(Number.isFinite(value) && value >= 0))
    .map(([name, value]) => `${of} has ${name} ${String(value)}`);
}
