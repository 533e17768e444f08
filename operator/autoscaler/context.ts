/** What the autoscaler works with; made once in the composition root. */
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import type { Cluster } from "../kube/cluster.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { CSPSDeployment, DecodePool, Node, Pod, SPGroup } from "../kube/object.ts";
import type { Store } from "../kube/store.ts";
import type { RankClients } from "../ranks/engines.ts";
import type { RecordKeeper } from "../records/keeper.ts";
import type { StatusNotes } from "../records/notes.ts";
import type { ScalingMemories } from "./memory.ts";

export interface AutoscalerContext {
  readonly cluster: Cluster;
  readonly deployments: Store<CSPSDeployment>;
  /** Both with the index by owner. */
  readonly groups: Store<SPGroup>;
  readonly pools: Store<DecodePool>;
  /** With the index by deployment. */
  readonly pods: Store<Pod>;
  readonly nodes: Store<Node>;
  readonly rankClients: RankClients;
  readonly memories: ScalingMemories;
  readonly keeper: RecordKeeper;
  /** What stands in the deployment's status of the last decision. */
  readonly notes: StatusNotes;
  readonly events: Pick<EventRecorder, "record">;
  readonly meters: ScalingMeters;
  /** The cluster state of a deployment; a sentence when it can't be reached at all. */
  stateOf(deployment: CSPSDeployment): Promise<ClusterState | string>;
  /** Fencing number of this process's leadership. */
  fence(): number;
  /** Wall time that no step of the clock moves: it passes as the process sees it pass. */
  steadyMs(): number;
}

export interface DeploymentName {
  readonly namespace: string;
  readonly name: string;
}

/** Told of what happens, for metrics. */
export interface ScalingMeters {
  decided(deployment: DeploymentName, decision: MeteredDecision): void;
  forget(deployment: DeploymentName): void;
}

export interface MeteredDecision {
  readonly mode: string;
  readonly reason: string;
  readonly refusals: readonly string[];
  readonly wanted: { readonly prefill: number; readonly decode: number };
  readonly gpus: number;
  readonly oldestSampleSeconds: number;
}
