/** Waits until the sample serves, and says all the while what is being waited for. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Cluster, kubectl } from "../cluster/cluster.ts";
import { say, step } from "../cluster/progress.ts";
import { DEPLOYMENT, NAMESPACE } from "./install.ts";

interface Condition {
  type: string;
  status: string;
  reason: string;
  message: string;
}

export interface Deployment {
  metadata: { generation: number };
  status?: { observedGeneration?: number; conditions?: Condition[] };
}

const DEADLINE_MS = 15 * 60_000;
const POLL_MS = 1_000;
/** What must hold, in the order in which it comes true. */
const WANTED = ["TopologySatisfied", "EnginesReady", "StateStoreReachable", "Available"] as const;

/** What is still missing, a sentence each; none when the deployment serves its present spec. */
export function missing(deployment: Deployment): string[] {
  const { status } = deployment;
  if (status?.observedGeneration !== deployment.metadata.generation)
    return ["the operator has not looked at it yet"];
  return WANTED.flatMap((type) => {
    const condition = status.conditions?.find((candidate) => candidate.type === type);
    if (condition === undefined) return [`${type} is not reported yet`];
    return condition.status === "True"
      ? []
      : [`${type}=${condition.status} (${condition.reason}): ${condition.message}`];
  });
}

/** Pods and recent events of the namespace, for a person who must find out why it does not serve. */
async function situation(cluster: Cluster): Promise<string> {
  const pods = await kubectl(cluster, [
    "-n",
    NAMESPACE,
    "get",
    "csps,spgroups,decodepools,pods",
    "-o",
    "wide",
  ]);
  const events = await kubectl(cluster, ["-n", NAMESPACE, "get", "events", "--sort-by=.lastTimestamp"]);
  return `${pods}\n${events.trim().split("\n").slice(-20).join("\n")}`;
}

/** Returns when every wanted condition is True. */
export async function waitUntilServing(cluster: Cluster): Promise<void> {
  await step("waiting until the model serves", async (detail) => {
    const deadline = Date.now() + DEADLINE_MS;
    let told = "";
    for (;;) {
      const text = await kubectl(cluster, [
        "-n",
        NAMESPACE,
        "get",
        "cspsdeployment",
        DEPLOYMENT,
        "-o",
        "json",
      ]);
      const open = missing(JSON.parse(text) as Deployment);
      const first = open[0];
      if (first === undefined) return;
      detail(first);
      if (first !== told) say(`    ${first}`);
      told = first;
      if (Date.now() > deadline) {
        throw new Error(
          `not serving after ${DEADLINE_MS / 60_000} minutes:\n${open.join("\n")}\n\n${await situation(cluster)}`,
        );
      }
      await sleep(POLL_MS);
    }
  });
}
