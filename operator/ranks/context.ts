/** What the reconcilers of gangs work with; made once in the composition root. */
import type { Cluster } from "../kube/cluster.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Expectations } from "../kube/expectations.ts";
import type { Node, Pod } from "../kube/object.ts";
import type { Store } from "../kube/store.ts";
import type { GangPolicy } from "../planning/gang/plan.ts";
import type { PlacementLedger } from "./capacity.ts";
import type { KeptRecord } from "../planning/status/records.ts";
import type { RankClients } from "./engines.ts";
import type { GangObject } from "./gang.ts";
import type { GangRecords } from "./record.ts";

/** Names of the indexes that the pod store must have. */
export const podIndex = { owner: "owner", deployment: "deployment", node: "node" } as const;

/** @param gang whose CSPSDeployment the record is kept for. */
export type KeepPlacement = (gang: GangObject, kept: KeptRecord) => Promise<unknown>;

export interface GangContext {
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, "record">;
  readonly expectations: Expectations;
  readonly pods: Store<Pod>;
  readonly nodes: Store<Node>;
  readonly ledger: PlacementLedger;
  readonly rankClients: RankClients;
  readonly records: GangRecords;
  /** Keeps everything that a placement was decided from. Never throws. */
  readonly keepPlacement: KeepPlacement;
  readonly policy: GangPolicy;
  /** Fencing number of this process's leadership. */
  fence(): number;
  nowMs(): number;
}
