/** Reads what there is, once: no caches, no watches. */
import { isNotFound } from "../kube/api-error.ts";
import type { Cluster } from "../kube/cluster.ts";
import { listPages } from "../kube/list.ts";
import type { CSPSDeployment, DecodePool, Node, Pod, SPGroup } from "../kube/object.ts";
import { slimPod } from "../kube/projection.ts";
import { cspsDeployments, decodePools, nodes, pods, spGroups } from "../kube/resource.ts";
import { CliError } from "./exitCode.ts";

/** A deployment with the gangs that the operator made for it, prefill groups first. */
export interface DeploymentView {
  readonly deployment: CSPSDeployment;
  readonly gangs: readonly (SPGroup | DecodePool)[];
}

/** `namespace` undefined: of all; `name` undefined: all of them. Throws CliError when a named one is not there. */
export async function readDeployments(
  cluster: Cluster,
  { namespace, name }: { namespace: string | undefined; name: string | undefined },
): Promise<readonly DeploymentView[]> {
  const [deployments, groups, pools] = await withKinds(async () => {
    const [first, second, third] = await Promise.all([
      listPages<CSPSDeployment>(cluster, { resource: cspsDeployments, namespace }),
      listPages<SPGroup>(cluster, { resource: spGroups, namespace }),
      listPages<DecodePool>(cluster, { resource: decodePools, namespace }),
    ]);
    return [first.items, second.items, third.items] as const;
  });
  const named = deployments.filter((one) => name === undefined || one.metadata.name === name);
  if (name !== undefined && named.length === 0) throw new CliError(notThere(name, namespace, deployments));
  const gangs = [...groups.sort((a, b) => a.spec.ordinal - b.spec.ordinal), ...pools];
  return named.map((deployment) => ({
    deployment,
    gangs: gangs.filter((gang) => belongs(gang, deployment)),
  }));
}

function belongs(gang: SPGroup | DecodePool, deployment: CSPSDeployment): boolean {
  const { name, namespace } = deployment.metadata;
  return gang.spec.deployment === name && gang.metadata.namespace === namespace;
}

/** The answer to a misspelt name is the names that there are. */
function notThere(name: string, namespace: string | undefined, all: readonly CSPSDeployment[]): string {
  const where = namespace === undefined ? "in any namespace" : `in namespace "${namespace}"`;
  const others = all.slice(0, 10).map((one) => one.metadata.name);
  const hint = others.length === 0 ? "there is none" : `there are: ${others.join(", ")}`;
  return `there is no CSPSDeployment "${name}" ${where}; ${hint}`;
}

export async function readDeployment(
  cluster: Cluster,
  target: { namespace: string; name: string },
): Promise<DeploymentView> {
  const [view] = await readDeployments(cluster, target);
  if (view === undefined) throw new CliError(`there is no CSPSDeployment "${target.name}"`);
  return view;
}

export interface Machines {
  readonly nodes: readonly Node[];
  /** Of all workloads: they take room too. */
  readonly pods: readonly Pod[];
}

export async function readMachines(cluster: Cluster): Promise<Machines> {
  const [{ items: found }, { items: running }] = await Promise.all([
    listPages<Node>(cluster, { resource: nodes }),
    listPages<Pod>(cluster, { resource: pods }, { project: slimPod }),
  ]);
  return { nodes: found, pods: running };
}

/** A cluster without the CRDs answers 404 to their lists. */
async function withKinds<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new CliError("the cluster does not know CSPSDeployments: install the chart csps first");
  }
}
