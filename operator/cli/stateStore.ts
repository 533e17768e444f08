/** The cluster state of a deployment, reached from outside the cluster. */
import type { ClusterState } from "../../runtime/state/clusterState.ts";
import { createRedisClusterState } from "../../runtime/state/redisClusterState.ts";
import { get } from "../kube/apply.ts";
import type { Cluster } from "../kube/cluster.ts";
import { listPages } from "../kube/list.ts";
import type { DecodePool, Pod } from "../kube/object.ts";
import { pods, secrets } from "../kube/resource.ts";
import { childName, labelKey, redisPort } from "../ranks/names.ts";
import { CliError } from "./exitCode.ts";
import type { ClusterAccess } from "./reach.ts";
import type { Surroundings } from "./surroundings.ts";

const connectDeadlineMs = 10_000;
const callMs = 5_000;
const retryMs = 100;

/** The bundled store is reached through its pod, an external one by its URL. Throws CliError. */
export async function withState<T>(
  { cluster, access, around }: { cluster: Cluster; access: ClusterAccess; around: Surroundings },
  pool: DecodePool,
  act: (state: ClusterState) => Promise<T>,
): Promise<T> {
  const { namespace = "" } = pool.metadata;
  const { deployment, stateStoreSecret } = pool.spec;
  const secret = await get(cluster, secrets, { metadata: { namespace, name: stateStoreSecret } });
  const encoded = secret?.data?.["url"];
  if (encoded === undefined)
    throw new CliError(`Secret ${stateStoreSecret} with the URL of Redis is not there`);
  const url = Buffer.from(encoded, "base64").toString("utf8");
  const bundled = url.includes(`@${childName.state(deployment)}.${namespace}.svc`);
  const reached = bundled ? await reachStore({ cluster, access, around }, pool) : undefined;
  const near = reached === undefined ? url : withHost(url, reached);
  const ca = secret?.data?.["ca.crt"];
  const trust = ca === undefined ? {} : { ca: Buffer.from(ca, "base64").toString("utf8") };
  const settings = { url: near, ...trust, deployment: `${namespace}/${deployment}`, now: Date.now };
  const state = createRedisClusterState({ ...settings, commandTimeoutMs: callMs });
  try {
    await untilReachable(state);
    return await act(state);
  } finally {
    await state.close();
    reached?.close();
  }
}

async function reachStore(
  { cluster, access, around }: { cluster: Cluster; access: ClusterAccess; around: Surroundings },
  { metadata: { namespace = "" }, spec }: DecodePool,
): ReturnType<Surroundings["reach"]> {
  const { items } = await listPages<Pod>(cluster, { resource: pods, namespace });
  const store = items.find(
    ({ metadata, status }) =>
      metadata.labels?.[labelKey.deployment] === spec.deployment &&
      metadata.labels[labelKey.role] === "state" &&
      status?.phase === "Running",
  );
  if (store === undefined) throw new CliError(`no Redis pod of ${spec.deployment} runs`);
  const address = store.status?.podIP ?? "";
  return around.reach(access, { namespace, pod: store.metadata.name, port: redisPort, address });
}

function withHost(url: string, { host, port }: { host: string; port: number }): string {
  const near = new URL(url);
  near.hostname = host;
  near.port = String(port);
  return near.href;
}

async function untilReachable(state: ClusterState): Promise<void> {
  const deadline = performance.now() + connectDeadlineMs;
  for (;;) {
    const answer = await state.listRanks();
    if (answer.ok) return;
    if (answer.problem !== "unreachable" || performance.now() > deadline)
      throw new CliError(`Redis does not answer: ${answer.message}`);
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}
