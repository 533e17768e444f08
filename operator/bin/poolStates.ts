/** The cluster state of a deployment, or that goes with its decode pool, by the URL in the deployment's Secret. */
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import { secretValue } from "../controllers/cspsdeployment/desired/secrets.ts";
import { get } from "../kube/apply.ts";
import type { Cluster } from "../kube/cluster.ts";
import { secrets } from "../kube/resource.ts";
import type { StateStores } from "./stateStores.ts";

/** A rotated URL is seen after so long. */
const secretAgeMs = 60_000;
const readDeadlineMs = 5_000;

interface Access {
  readonly url: string;
  readonly ca: string | undefined;
  readonly readAtMs: number;
}

/** What of a decode pool, or of a deployment itself, leads to its cluster state. */
export interface StateOwner {
  readonly metadata: { readonly namespace?: string };
  readonly spec: { readonly deployment: string; readonly stateStoreSecret: string };
}

/** Answers with a sentence when there is no URL, or it can't be used. */
export function poolStates(
  cluster: Cluster,
  stores: StateStores,
  nowMs: () => number,
): (owner: StateOwner) => Promise<ClusterState | string> {
  const known = new Map<string, Access>();
  return async ({ metadata, spec }) => {
    const { namespace = "" } = metadata;
    const deployment = `${namespace}/${spec.deployment}`;
    const last = known.get(deployment);
    if (last !== undefined && nowMs() - last.readAtMs < secretAgeMs)
      return stores.of({ ...last, deployment });
    const target = { metadata: { namespace, name: spec.stateStoreSecret } };
    const secret = await get(cluster, secrets, target, { timeoutMs: readDeadlineMs });
    const url = secretValue(secret, "url");
    if (url === undefined) return `Secret ${spec.stateStoreSecret} holds no url`;
    const access = { url, ca: secretValue(secret, "ca.crt"), readAtMs: nowMs() };
    known.set(deployment, access);
    return stores.of({ ...access, deployment });
  };
}
