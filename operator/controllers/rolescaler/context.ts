/** What the reconciler of RoleScalers works with; made once in the composition root. */
import type { Cluster } from "../../kube/cluster.ts";
import type { EventRecorder } from "../../kube/events.ts";
import type { CSPSDeployment, Pod, RoleScaler, SPGroup } from "../../kube/object.ts";
import type { Store } from "../../kube/store.ts";

export interface RoleScalerContext {
  readonly cluster: Cluster;
  readonly events: Pick<EventRecorder, "record">;
  readonly deployments: Store<CSPSDeployment>;
  /** Both with the index by owner. */
  readonly scalers: Store<RoleScaler>;
  readonly groups: Store<SPGroup>;
  /** With the index by deployment. */
  readonly pods: Store<Pod>;
}
