/** A pool's own inventory as planning sees it. */
import type { InventoryRequest, MoveState, PoolInventory } from "../../runtime/wire/schema/move.ts";
import type { MoveUnderWay, PoolSnapshot, RankFacts, RequestFacts } from "../planning/rebalance/pool.ts";

export interface SnapshotSources {
  /** False for a rank that is on its way out or whose node takes no more pods. */
  readonly admits: (rankId: string) => boolean;
  /** Recorded by the operator, and perhaps not known to the pool yet. */
  readonly ordered: readonly MoveUnderWay[];
}

export function poolSnapshot(inventory: PoolInventory, { admits, ordered }: SnapshotSources): PoolSnapshot {
  const known = new Set(inventory.moves.map((move) => move.moveId));
  const copying = inventory.moves
    .filter((move) => move.phase === "copying")
    .map((move) => ({ ...move, state: "copying" as const }));
  return {
    ranks: inventory.ranks.map((rank): RankFacts => {
      const refusedAgeMs = sinceRefusal(rank.rankId, inventory.moves);
      return {
        rankId: rank.rankId,
        incarnation: rank.incarnation,
        capacityPages: rank.pagesTotal,
        freePages: rank.pagesFree,
        scanBytesPerStep: rank.scanBytesPerStep,
        ageMs: rank.ageMs,
        reportAgeMs: 0,
        admits: !rank.draining && admits(rank.rankId),
        ...(refusedAgeMs === undefined ? {} : { refusedAgeMs }),
      };
    }),
    requests: inventory.requests.map((request) => requestFacts(request, inventory.pageBytes)),
    moves: [...copying, ...ordered.filter((move) => !known.has(move.moveId))].map(underWay),
    pageBytes: inventory.pageBytes,
    stepMs: inventory.stepMs,
    scanBytesPerSecond: inventory.scanBytesPerSecond,
  };
}

function requestFacts(request: InventoryRequest, pageBytes: number): RequestFacts {
  return {
    requestId: request.requestId,
    mapVersion: request.mapVersion,
    home: request.home,
    shards: request.shards,
    writtenPages: request.writtenPages,
    remainingTokens: request.remainingTokens,
    scanBytesPerPage: request.decoding ? pageBytes : 0,
    settled: request.settled,
  };
}

/** Only what planning reads, so that a record holds no more. */
function underWay(move: MoveUnderWay): MoveUnderWay {
  const { moveId, requestId, from, to, firstPage, pages, bytesPerSecond, state } = move;
  return { moveId, requestId, from, to, firstPage, pages, bytesPerSecond, state };
}

function sinceRefusal(rankId: string, moves: readonly MoveState[]): number | undefined {
  const ages = moves
    .filter((move) => move.to === rankId && move.phase === "refused")
    .map((move) => move.ageMs);
  return ages.length === 0 ? undefined : Math.min(...ages);
}
