/** What the quickstart prints: answers, times, who served them and what to try next. */
import { type Cluster, kubectl } from "../cluster/cluster.ts";
import { DEPLOYMENT, NAMESPACE } from "./install.ts";
import type { Answer } from "./requests.ts";

export interface RankPlace {
  pod: string;
  role: string;
  node: string;
  /** Of the node; empty where it has none. */
  rack: string;
}

interface PodList {
  items: { metadata: { name: string; labels: Record<string, string> }; spec: { nodeName?: string } }[];
}

interface NodeList {
  items: { metadata: { name: string; labels: Record<string, string> } }[];
}

/** Where the deployment's ranks run. */
export async function rankPlaces(cluster: Cluster): Promise<RankPlace[]> {
  const selector = `csps.io/deployment=${DEPLOYMENT},csps.io/role in (prefill,decode)`;
  const pods = JSON.parse(
    await kubectl(cluster, ["-n", NAMESPACE, "get", "pods", "-l", selector, "-o", "json"]),
  ) as PodList;
  const nodes = JSON.parse(await kubectl(cluster, ["get", "nodes", "-o", "json"])) as NodeList;
  const racks = new Map(
    nodes.items.map((node) => [node.metadata.name, node.metadata.labels["csps.io/rack"] ?? ""]),
  );
  return pods.items
    .map((pod) => ({
      pod: pod.metadata.name,
      role: pod.metadata.labels["csps.io/role"] ?? "",
      node: pod.spec.nodeName ?? "",
      rack: racks.get(pod.spec.nodeName ?? "") ?? "",
    }))
    .sort((left, right) => right.role.localeCompare(left.role) || left.pod.localeCompare(right.pod));
}

export function describeAnswer(title: string, answer: Answer): string {
  const served = Object.entries(answer.servedBy).map(
    ([name, value]) => `  ${name.replace("x-csps-", "")}: ${value}`,
  );
  return [
    title,
    ...answer.text
      .trim()
      .split("\n")
      .map((line) => `  | ${line}`),
    `  prompt ${answer.promptTokens} tokens, answer ${answer.completionTokens} tokens`,
    `  time to first token ${(answer.firstTokenMs / 1000).toFixed(2)} s, then ${answer.tokensPerSecond.toFixed(1)} tokens/s`,
    ...served,
  ].join("\n");
}

export function describePlaces(places: readonly RankPlace[]): string {
  const lines = places.map(
    ({ pod, role, node, rack }) => `  ${role.padEnd(8)}${pod.padEnd(22)} on ${node} (rack ${rack})`,
  );
  return ["Ranks:", ...lines].join("\n");
}

/** Commands to go on with; `down` is the one that removes everything. */
export function nextSteps(cluster: Cluster, model: string, port: number, down: string): string {
  const context = cluster.context === undefined ? "" : ` --context ${cluster.context}`;
  const kube = `${cluster.kubectlPath} --kubeconfig ${cluster.kubeconfigPath}${context}`;
  const body = JSON.stringify({
    model,
    messages: [{ role: "user", content: "Why is the sky blue?" }],
    stream: true,
  });
  return [
    "Try next:",
    `  alias k='${kube}'`,
    "  k get csps,spgroups,decodepools,pods -o wide",
    `  k describe csps ${DEPLOYMENT}                  # events tell the story`,
    `  k delete pod ${DEPLOYMENT}-prefill-0-1 --wait=false   # the group goes on with one rank, then heals`,
    `  k port-forward service/${DEPLOYMENT}-gateway 8000:${port} &`,
    `  curl -N http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' -d '${body}'`,
    `  ${down}   # remove everything`,
  ].join("\n");
}
