/** A decode pool as its own engines tell of it, asked from outside the cluster. */
import { createRankClient } from "../../runtime/wire/rankClient.ts";
import type { PoolInventory } from "../../runtime/wire/schema/move.ts";
import { get } from "../kube/apply.ts";
import type { Cluster } from "../kube/cluster.ts";
import { listPages } from "../kube/list.ts";
import type { DecodePool, Pod } from "../kube/object.ts";
import { pods, secrets } from "../kube/resource.ts";
import { slimPod } from "../kube/projection.ts";
import { controlPort, labelKey } from "../ranks/names.ts";
import { CliError } from "./exitCode.ts";
import { readDeployments } from "./observe.ts";
import type { ClusterAccess } from "./reach.ts";
import type { Surroundings } from "./surroundings.ts";

export interface PoolTarget {
  readonly namespace: string;
  /** Of the CSPSDeployment; undefined: the only one of the namespace. */
  readonly name: string | undefined;
}

export interface PoolLook {
  readonly pool: DecodePool;
  readonly pods: readonly Pod[];
  /** Asks the coordinator again. */
  inventory(): Promise<PoolInventory>;
}

const askDeadlineMs = 10_000;

export async function findPool(cluster: Cluster, { namespace, name }: PoolTarget): Promise<DecodePool> {
  const views = await readDeployments(cluster, { namespace, name });
  const [view] = views;
  if (view === undefined) throw new CliError(`there is no CSPSDeployment in namespace "${namespace}"`);
  if (views.length > 1) {
    const names = views.map((one) => one.deployment.metadata.name).join(", ");
    throw new CliError(`namespace "${namespace}" has several CSPSDeployments, name one: ${names}`);
  }
  const pool = view.gangs.find((gang): gang is DecodePool => gang.kind === "DecodePool");
  if (pool === undefined)
    throw new CliError(`the operator has made no decode pool for "${view.deployment.metadata.name}" yet`);
  return pool;
}

/** Opens a way to the pool's coordinator for as long as `act` runs. */
export async function withPool<T>(
  { cluster, access, around }: { cluster: Cluster; access: ClusterAccess; around: Surroundings },
  pool: DecodePool,
  act: (look: PoolLook) => Promise<T>,
): Promise<T> {
  const { namespace = "", name } = pool.metadata;
  const { items } = await listPages<Pod>(cluster, { resource: pods, namespace }, { project: slimPod });
  const ranks = items.filter((pod) => pod.metadata.labels?.[labelKey.group] === name);
  const running = ranks.filter((pod) => pod.status?.phase === "Running");
  if (running.length === 0) throw new CliError(`no rank of ${name} runs`);
  const token = await readToken(cluster, { namespace, name: pool.spec.controlTokenSecret });
  const client = createRankClient({ token: () => token });
  const open: (() => void)[] = [];
  /** The coordinator is known from any rank's state: it is asked itself, since its address is inside the cluster. */
  const reach = async (pod: Pod): Promise<{ address: string; controlPort: number }> => {
    const address = pod.status?.podIP ?? "";
    const at = { namespace, pod: pod.metadata.name, port: controlPort, address };
    const reached = await around.reach(access, at);
    open.push(reached.close);
    return { address: reached.host, controlPort: reached.port };
  };
  try {
    const first = running[0];
    if (first === undefined) throw new CliError(`no rank of ${name} runs`);
    const door = await reach(first);
    const { coordinator } = await client.state(door, { deadlineMs: askDeadlineMs });
    if (coordinator === undefined) throw new CliError(`the ranks of ${name} form no epoch now`);
    const other = running.find((pod) => pod.metadata.name === coordinator.rankId && pod !== first);
    const target = other === undefined ? door : await reach(other);
    const inventory = () => client.inventory(target, { deadlineMs: askDeadlineMs });
    return await act({ pool, pods: ranks, inventory });
  } finally {
    await client.close();
    for (const close of open) close();
  }
}

async function readToken(
  cluster: Cluster,
  { namespace, name }: { namespace: string; name: string },
): Promise<string> {
  const secret = await get(cluster, secrets, { metadata: { namespace, name } });
  const token = secret?.data?.["token"];
  if (token === undefined) throw new CliError(`Secret ${name} with the control token is not there`);
  return Buffer.from(token, "base64").toString("utf8");
}
