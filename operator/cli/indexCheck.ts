/** Compares the index of KV in Redis with what the engines themselves hold. Pure. */
import type { ShardMap } from "../../runtime/state/domain.ts";
import type { InventoryRequest, PoolInventory } from "../../runtime/wire/schema/move.ts";

export interface IndexDifference {
  readonly requestId: string;
  readonly kind: "missing" | "stray" | "differs";
  /** A sentence. */
  readonly what: string;
}

export interface IndexCheck {
  /** Requests that held still while they were compared. */
  readonly compared: number;
  readonly differences: readonly IndexDifference[];
}

/**
 * `before` and `after` were asked around the reading of the index: a request that came, went or changed its map in
 * between is left out, for nobody can say which of the two the index should show.
 */
export function checkIndex(
  maps: readonly ShardMap[],
  { before, after }: { readonly before: PoolInventory; readonly after: PoolInventory },
): IndexCheck {
  const still = after.requests.filter((request) =>
    before.requests.some(
      (one) => one.requestId === request.requestId && one.mapVersion === request.mapVersion,
    ),
  );
  const seen = new Set([...before.requests, ...after.requests].map((request) => request.requestId));
  const own = new Map(
    maps.filter((map) => map.pool === after.group).map((map) => [map.requestId, map] as const),
  );
  const stray = [...own.keys()]
    .filter((requestId) => !seen.has(requestId))
    .map((requestId): IndexDifference => {
      return { requestId, kind: "stray", what: "the index has it and no engine holds a page of it" };
    });
  const wrong = still.flatMap((request) => differenceOf(request, own.get(request.requestId), after));
  return { compared: still.length, differences: [...stray, ...wrong] };
}

function differenceOf(
  request: InventoryRequest,
  map: ShardMap | undefined,
  { pageTokens, epoch }: PoolInventory,
): readonly IndexDifference[] {
  const { requestId } = request;
  if (map === undefined)
    return [{ requestId, kind: "missing", what: "engines hold it and the index does not know it" }];
  if (map.epoch > epoch)
    return [{ requestId, kind: "differs", what: `the index speaks of epoch ${String(map.epoch)}` }];
  const engines = ranges(
    request.shards.map((shard) => ({ rankId: shard.rankId, tokens: shard.pages * pageTokens })),
  );
  const index = ranges(map.shards);
  if (engines === index) return [];
  return [{ requestId, kind: "differs", what: `it lies on ${engines}, the index says ${index}` }];
}

/** `m-decode-0 128, m-decode-1 64`: ranks in token order with their tokens, neighbours on one rank as one. */
function ranges(shards: readonly { readonly rankId: string; readonly tokens: number }[]): string {
  const merged: { rankId: string; tokens: number }[] = [];
  for (const { rankId, tokens } of shards) {
    const last = merged.at(-1);
    if (last?.rankId === rankId) last.tokens += tokens;
    else merged.push({ rankId, tokens });
  }
  return merged.map(({ rankId, tokens }) => `${rankId} ${String(tokens)}`).join(", ");
}
