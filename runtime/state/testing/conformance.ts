/** What every adapter of the cluster state has to do; run by the test of each with a store of its own. */
import { describe, expect, it } from "vitest";
import type { ClusterState, StateAnswer } from "../clusterState.ts";
import type { MoveRecord, RankReport, ShardMap } from "../domain.ts";

export interface Store {
  /** State of one deployment in the store under test, with the given clock. */
  open(deployment: string, now: () => number): ClusterState;
}

export function aReport(over: Partial<RankReport> = {}): RankReport {
  const rankId = over.rankId ?? "m-prefill-0-0";
  const incarnation = over.incarnation ?? "uid-1";
  return {
    rankId,
    incarnation,
    startedMs: 1_000,
    reportedMs: 2_000,
    rank: { rankId, incarnation, address: "10.0.0.1", controlPort: 9000, transferPort: 9001 },
    role: "prefill",
    group: "m-prefill-0",
    phase: "serving",
    epoch: 1,
    coordinator: true,
    kvFormat: "f",
    pagesTotal: 10,
    pagesFree: 7,
    running: 1,
    waiting: 0,
    ...over,
  };
}

export function aMap(over: Partial<ShardMap> = {}): ShardMap {
  return {
    requestId: "r1",
    pool: "m-decode",
    epoch: 2,
    version: 1,
    shards: [{ rankId: "m-decode-0", firstToken: 0, tokens: 16, bytes: 1024 }],
    ...over,
  };
}

export function aMoveRecord(over: Partial<MoveRecord> = {}): MoveRecord {
  const moveId = over.moveId ?? "r1@1/0+4/1";
  const requestId = over.requestId ?? "r1";
  const ranks = { from: "m-decode-0", fromIncarnation: "uid-0", to: "m-decode-1", toIncarnation: "uid-1" };
  const pages = { firstPage: 0, pages: 4, takesHome: false };
  const order = { moveId, requestId, mapVersion: 1, ...ranks, ...pages, bytesPerSecond: 1, deadlineMs: 1 };
  return { moveId, requestId, pool: "m-decode", recordedMs: 1_000, order, bytes: 4, ...over };
}

/** The value of an answer; fails the test when there is none. */
export function valueOf<T>(answer: StateAnswer<T>): T {
  if (answer.ok) return answer.value;
  throw new Error(`${answer.problem}: ${answer.message}`);
}

export function describeClusterState(name: string, store: Store): void {
  let count = 0;
  function fresh(): { state: ClusterState; clock: { ms: number }; deployment: string } {
    count += 1;
    const clock = { ms: 1_000_000 };
    const deployment = `ns/d${String(count)}`;
    return { state: store.open(deployment, () => clock.ms), clock, deployment };
  }

  describe(`cluster state on ${name}`, () => {
    it("lists the ranks that have reported, each with its last report", async () => {
      const { state } = fresh();
      await state.reportRank(aReport({ rankId: "b" }), 1_000);
      await state.reportRank(aReport({ rankId: "a" }), 1_000);
      await state.reportRank(aReport({ rankId: "b", pagesFree: 1 }), 1_000);
      const ranks = valueOf(await state.listRanks());
      expect(ranks.map((rank) => [rank.rankId, rank.pagesFree])).toEqual([
        ["a", 7],
        ["b", 1],
      ]);
    });

    it("drops a report once its time is over, and a new one brings the rank back", async () => {
      const { state, clock } = fresh();
      await state.reportRank(aReport(), 1_000);
      clock.ms += 999;
      expect(valueOf(await state.listRanks())).toHaveLength(1);
      clock.ms += 1;
      expect(valueOf(await state.listRanks())).toEqual([]);
      await state.reportRank(aReport(), 1_000);
      expect(valueOf(await state.listRanks())).toHaveLength(1);
    });

    it("refuses the report of an earlier incarnation while the later one lives", async () => {
      const { state, clock } = fresh();
      await state.reportRank(aReport({ incarnation: "new", startedMs: 2_000 }), 1_000);
      const late = aReport({ incarnation: "old", startedMs: 1_000 });
      expect(valueOf(await state.reportRank(late, 1_000))).toBe("stale");
      expect(valueOf(await state.listRanks())[0]?.incarnation).toBe("new");
      clock.ms += 1_000;
      expect(valueOf(await state.reportRank(late, 1_000))).toBe("accepted");
    });

    it("lets a later incarnation take over at once", async () => {
      const { state } = fresh();
      await state.reportRank(aReport({ incarnation: "old", startedMs: 1_000 }), 60_000);
      const successor = aReport({ incarnation: "new", startedMs: 2_000 });
      expect(valueOf(await state.reportRank(successor, 1_000))).toBe("accepted");
      expect(valueOf(await state.listRanks())[0]?.incarnation).toBe("new");
    });

    it("removes the very incarnation that is named and no other", async () => {
      const { state } = fresh();
      await state.reportRank(aReport({ incarnation: "new" }), 1_000);
      expect(valueOf(await state.removeRank("m-prefill-0-0", "old"))).toBe(false);
      expect(valueOf(await state.listRanks())).toHaveLength(1);
      expect(valueOf(await state.removeRank("m-prefill-0-0", "new"))).toBe(true);
      expect(valueOf(await state.listRanks())).toEqual([]);
    });

    it("drops thousands of expired reports in one go", async () => {
      const { state, clock } = fresh();
      const writes = Array.from({ length: 2_500 }, (_, i) =>
        state.reportRank(aReport({ rankId: `r${String(i)}` }), 1_000),
      );
      for (const written of await Promise.all(writes)) expect(written.ok).toBe(true);
      clock.ms += 1_000;
      await state.reportRank(aReport({ rankId: "alive" }), 1_000);
      expect(valueOf(await state.listRanks()).map((rank) => rank.rankId)).toEqual(["alive"]);
    });

    it("keeps the newest shard map by epoch, then by version", async () => {
      const { state } = fresh();
      expect(valueOf(await state.putShards(aMap({ epoch: 2, version: 2 }), 1_000))).toBe("accepted");
      expect(valueOf(await state.putShards(aMap({ epoch: 2, version: 1 }), 1_000))).toBe("stale");
      expect(valueOf(await state.putShards(aMap({ epoch: 1, version: 9 }), 1_000))).toBe("stale");
      expect(valueOf(await state.putShards(aMap({ epoch: 2, version: 2 }), 1_000))).toBe("accepted");
      expect(valueOf(await state.putShards(aMap({ epoch: 3, version: 1 }), 1_000))).toBe("accepted");
      expect(valueOf(await state.listShards())).toEqual([aMap({ epoch: 3, version: 1 })]);
    });

    it("removes a shard map, but not for a pool's past epoch", async () => {
      const { state } = fresh();
      await state.putShards(aMap({ epoch: 3 }), 1_000);
      expect(valueOf(await state.removeShards("r1", 2))).toBe("stale");
      expect(valueOf(await state.removeShards("r1", 3))).toBe(true);
      expect(valueOf(await state.removeShards("r1", 3))).toBe(false);
      expect(valueOf(await state.listShards())).toEqual([]);
    });

    it("drops a shard map once its time is over", async () => {
      const { state, clock } = fresh();
      await state.putShards(aMap({ epoch: 5 }), 1_000);
      clock.ms += 1_000;
      expect(valueOf(await state.listShards())).toEqual([]);
      expect(valueOf(await state.putShards(aMap({ epoch: 1 }), 1_000))).toBe("accepted");
    });

    it("gives one move of a request its lease, and another only when that one is over", async () => {
      const { state } = fresh();
      const [first, second] = [aMoveRecord(), aMoveRecord({ moveId: "other" })];
      expect(valueOf(await state.beginMove(first, 3, 1_000))).toBe("accepted");
      expect(valueOf(await state.beginMove(first, 3, 1_000))).toBe("accepted");
      expect(valueOf(await state.beginMove(second, 3, 1_000))).toBe("held");
      expect(valueOf(await state.beginMove(aMoveRecord({ requestId: "r2" }), 3, 1_000))).toBe("accepted");
      expect(valueOf(await state.endMove(second, 3))).toBe(false);
      expect(valueOf(await state.listMoves())).toHaveLength(2);
      expect(valueOf(await state.endMove(first, 3))).toBe(true);
      expect(valueOf(await state.endMove(first, 3))).toBe(false);
      expect(valueOf(await state.beginMove(second, 3, 1_000))).toBe("accepted");
      expect(valueOf(await state.listMoves())).toContainEqual(second);
    });

    it("lets an old leader begin and end no move, and gives a lease back whose time is over", async () => {
      const { state, clock } = fresh();
      expect(valueOf(await state.beginMove(aMoveRecord(), 3, 1_000))).toBe("accepted");
      expect(valueOf(await state.beginMove(aMoveRecord({ requestId: "r2" }), 2, 1_000))).toBe("stale");
      expect(valueOf(await state.endMove(aMoveRecord(), 2))).toBe("stale");
      expect(valueOf(await state.advanceFence(2))).toBe("stale");
      const other = aMoveRecord({ moveId: "other" });
      expect(valueOf(await state.beginMove(other, 4, 1_000))).toBe("held");
      clock.ms += 1_000;
      expect(valueOf(await state.listMoves())).toEqual([]);
      expect(valueOf(await state.beginMove(other, 4, 1_000))).toBe("accepted");
    });

    it("lists thousands of shard maps, each once", async () => {
      const { state } = fresh();
      const ids = Array.from({ length: 2_500 }, (_, index) => `r${String(index)}`);
      for (const written of await Promise.all(
        ids.map((requestId) => state.putShards(aMap({ requestId }), 9_000)),
      ))
        expect(written.ok).toBe(true);
      const listed = valueOf(await state.listShards()).map((map) => map.requestId);
      expect(listed.sort()).toEqual(ids.sort());
    });

    it("tells of the pages that pools were noted to hold, the newest note of each, from any time on", async () => {
      const { state, clock } = fresh();
      expect(valueOf(await state.listPrefixes(0, 10))).toEqual({ notes: [], untilMs: 0, era: undefined });
      const era = String(clock.ms);
      expect(valueOf(await state.notePrefixes("a", ["k1", "k2"]))).toBe("noted");
      clock.ms += 5;
      expect(valueOf(await state.notePrefixes("b", ["k1"]))).toBe("noted");
      const first = valueOf(await state.listPrefixes(0, 2));
      expect(first).toEqual({
        notes: [
          { pool: "a", key: "k1" },
          { pool: "a", key: "k2" },
        ],
        untilMs: clock.ms - 5,
        era,
      });
      expect(valueOf(await state.listPrefixes(first.untilMs + 1, 10))).toEqual({
        notes: [{ pool: "b", key: "k1" }],
        untilMs: clock.ms,
        era,
      });
      clock.ms += 3_600_000;
      await state.notePrefixes("a", ["k2"]);
      expect(valueOf(await state.listPrefixes(0, 10))).toEqual({
        notes: [{ pool: "a", key: "k2" }],
        untilMs: clock.ms,
        era,
      });
      await state.clear(1);
      await state.notePrefixes("a", ["k3"]);
      expect(valueOf(await state.listPrefixes(0, 10)).era).toBe(String(clock.ms));
    });

    it("keeps the degree table of the newest leader, for its time", async () => {
      const { state, clock } = fresh();
      const table = [{ name: "long", upToTokens: 65_536, degree: 4 }];
      expect(valueOf(await state.readDegrees())).toBeUndefined();
      expect(valueOf(await state.putDegrees(table, 2, 1_000))).toBe("accepted");
      expect(valueOf(await state.putDegrees([], 1, 1_000))).toBe("stale");
      expect(valueOf(await state.readDegrees())).toEqual(table);
      clock.ms += 1_000;
      expect(valueOf(await state.readDegrees())).toBeUndefined();
    });

    it("never moves the fence back", async () => {
      const { state } = fresh();
      expect(valueOf(await state.checkFence(0))).toBe("current");
      expect(valueOf(await state.advanceFence(4))).toBe("accepted");
      expect(valueOf(await state.advanceFence(4))).toBe("accepted");
      expect(valueOf(await state.advanceFence(3))).toBe("stale");
      expect(valueOf(await state.checkFence(3))).toBe("stale");
      expect(valueOf(await state.checkFence(4))).toBe("current");
      expect(valueOf(await state.checkFence(5))).toBe("current");
    });

    it("clears one deployment and leaves its neighbours, and not for an old leader", async () => {
      const { state } = fresh();
      const { state: neighbour } = fresh();
      for (const each of [state, neighbour]) {
        await each.advanceFence(2);
        await each.reportRank(aReport(), 1_000);
        await each.putShards(aMap(), 1_000);
        await each.beginMove(aMoveRecord(), 2, 1_000);
        await each.putDegrees([], 2, 1_000);
        await each.notePrefixes("m-decode", ["k"]);
      }
      expect(valueOf(await state.clear(1))).toBe("stale");
      expect(valueOf(await state.clear(2))).toBe(11);
      expect(valueOf(await state.listRanks())).toEqual([]);
      expect(valueOf(await state.listShards())).toEqual([]);
      expect(valueOf(await state.clear(2))).toBe(0);
      expect(valueOf(await neighbour.listRanks())).toHaveLength(1);
    });
  });
}
