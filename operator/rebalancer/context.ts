/** What the rebalancer works with; made once in the composition root. */
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { DecodePool, Node, Pod } from "../kube/object.ts";
import type { Store } from "../kube/store.ts";
import type { RankClients } from "../ranks/engines.ts";
import type { GangRecords } from "../ranks/record.ts";
import type { RecordKeeper } from "../records/keeper.ts";
import type { PoolMemories } from "./memory.ts";

export interface RebalancerContext {
  readonly pools: Store<DecodePool>;
  /** With the index by owner. */
  readonly pods: Store<Pod>;
  readonly nodes: Store<Node>;
  readonly rankClients: RankClients;
  /** Whose decisions are shown in the pool's status. */
  readonly gangRecords: GangRecords;
  readonly keeper: RecordKeeper;
  readonly memories: PoolMemories;
  readonly events: Pick<EventRecorder, "record">;
  readonly meters: RebalanceMeters;
  /** The cluster state of the pool's deployment; a sentence when it can't be reached at all. */
  stateOf(pool: DecodePool): Promise<ClusterState | string>;
  /** Fencing number of this process's leadership. */
  fence(): number;
  nowMs(): number;
}

export interface PoolName {
  readonly namespace: string;
  readonly name: string;
}

/** Told of what happens, for metrics. */
export interface RebalanceMeters {
  decided(pool: PoolName, reason: string): void;
  moved(pool: PoolName, outcome: string): void;
  committed(pool: PoolName, move: { readonly bytes: number; readonly stallMs: number }): void;
  imbalance(pool: PoolName, quantity: string, value: number): void;
  forget(pool: PoolName): void;
}
