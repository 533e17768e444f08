/** What the reconciler of CSPSDeployments works with; made once in the composition root. */
import type { Cluster } from "../../kube/cluster.ts";
import type { EventRecorder } from "../../kube/events.ts";
import type {
  CSPSDeployment,
  DecodePool,
  Deployment,
  KubeObject,
  Node,
  Pod,
  SPGroup,
  StatefulSet,
} from "../../kube/object.ts";
import type { Resource } from "../../kube/resource.ts";
import type { Store } from "../../kube/store.ts";
import type { StatusNotes } from "../../records/notes.ts";
import type { Surroundings } from "./desired/deploymentDesign.ts";

/** A kind of owned object, and the cache that shows its objects. */
export interface OwnedKind {
  readonly resource: Resource;
  readonly store: Store<KubeObject>;
}

/** How the operator looks at a state store; every call ends by its deadline. */
export interface StateStoreAccess {
  /** Undefined when the store answers, else why not, as a sentence. */
  probe(target: StateStoreTarget): Promise<string | undefined>;
  /** Removes every key of the deployment; undefined when done, else why not, as a sentence. */
  clear(target: StateStoreTarget): Promise<string | undefined>;
  /** Closes the connection to the deployment's store. */
  release(deployment: string): Promise<void>;
}

export interface StateStoreTarget {
  readonly url: string;
  /** Authorities that may have signed its certificate, in PEM; absent: those of the system. */
  readonly ca?: string | undefined;
  /** <namespace>/<name>. */
  readonly deployment: string;
  readonly deadlineMs: number;
}

export interface DeploymentContext {
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, "record">;
  readonly deployments: Store<CSPSDeployment>;
  readonly groups: Store<SPGroup>;
  readonly pools: Store<DecodePool>;
  readonly workloads: Store<Deployment>;
  readonly statefulSets: Store<StatefulSet>;
  readonly pods: Store<Pod>;
  readonly nodes: Store<Node>;
  /** By kind. */
  readonly owned: ReadonlyMap<string, OwnedKind>;
  readonly stateStore: StateStoreAccess;
  /** What the autoscaler has to say in the status. */
  readonly notes: StatusNotes;
  readonly surroundings: Surroundings;
  nowMs(): number;
}
