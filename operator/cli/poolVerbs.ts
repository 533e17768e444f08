/** The verbs that ask a decode pool's own engines. */
import type { Cluster } from "../kube/cluster.ts";
import type { Invocation } from "./commandLine.ts";
import type { Report } from "./output/report.ts";
import { CliError } from "./exitCode.ts";
import { findPool, withPool } from "./pool.ts";
import { withState } from "./stateStore.ts";
import type { Surroundings } from "./surroundings.ts";
import { drain, findRank, planDrainOf, poolOfRank } from "./verbs/drain.ts";
import { kv } from "./verbs/kv.ts";
import { kvVerify } from "./verbs/kvVerify.ts";
import { askRebalance, planRebalanceOf } from "./verbs/rebalance.ts";

export interface Standing {
  readonly cluster: Cluster;
  readonly around: Surroundings;
}

export async function runPoolVerb(
  invocation: Invocation,
  { cluster, around }: Standing,
  namespace: string,
): Promise<Report> {
  const { verb, name, dryRun, kubeconfig, context } = invocation;
  const ways = { cluster, around, access: { kubeconfig, context } };
  if (verb === "drain") {
    const pod = await findRank(cluster, { namespace, name: name ?? "" });
    if (!dryRun) return drain(cluster, pod, around.nowMs());
    const own = await poolOfRank(cluster, pod);
    if (own === undefined) throw new CliError(`${pod.metadata.name} holds no KV: it is a prefill rank`);
    return withPool(ways, own, (look) => planDrainOf(look, pod.metadata.name));
  }
  const pool = await findPool(cluster, { namespace, name });
  if (verb === "rebalance" && !dryRun) return askRebalance(cluster, pool, around.nowMs());
  return withPool(ways, pool, (look) => {
    if (verb === "rebalance") return planRebalanceOf(look);
    if (!invocation.verify) return kv(look);
    return withState(ways, pool, (state) => kvVerify(look, state));
  });
}
