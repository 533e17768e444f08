/** The cluster that the scenarios share, and the deployment that they look at. */
import { setTimeout as sleep } from "node:timers/promises";
import { inject } from "vitest";
import type { z } from "zod";
import type { Cluster } from "../cluster/cluster.ts";
import { run } from "../cluster/command.ts";
import { forward, type Forward } from "../quickstart/forward.ts";
import { demand, eventually } from "./eventually.ts";
import {
  type Deployment,
  deploymentShape,
  isReady,
  listOf,
  type Node,
  nodeShape,
  type Pod,
  podShape,
} from "./objects.ts";

/** Made by the global set-up; plain data, because it crosses into the test worker. */
export interface World {
  readonly kubectl: string;
  readonly kubeconfig: string;
  readonly operatorNamespace: string;
  readonly namespace: string;
  readonly deployment: string;
  readonly cluster: string;
  readonly quickstart: { readonly output: string; readonly tookMs: number };
}

declare module "vitest" {
  export interface ProvidedContext {
    world: World;
  }
}

export const world = inject("world");

/** Name of the model in manifests/quickstart.yaml. */
export const MODEL = "smollm2-135m-instruct";

const GATEWAY_PORT = 8000;

const access: Cluster = {
  name: world.cluster,
  kubeconfigPath: world.kubeconfig,
  kubectlPath: world.kubectl,
  helmPath: "",
  nodes: [],
  knownLayers: new Map(),
};

/** What the API server of a busy machine answers for a moment; whatever we ask of it may be asked twice. */
const MOMENTARY =
  /etcdserver: (request timed out|leader changed)|TLS handshake timeout|connection re(fused|set)|unexpected EOF|client connection lost|Too Many Requests/i;
const ATTEMPTS = 5;

export async function kubectl(args: readonly string[], input?: string): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await run(world.kubectl, [`--kubeconfig=${world.kubeconfig}`, ...args], {
        timeoutMs: 300_000,
        ...(input === undefined ? {} : { input }),
      });
    } catch (error) {
      if (attempt === ATTEMPTS || !MOMENTARY.test(String(error))) throw error;
      await sleep(2_000);
    }
  }
}

export async function get<T extends z.ZodType>(shape: T, ...args: string[]): Promise<z.infer<T>> {
  return shape.parse(JSON.parse(await kubectl(["get", ...args, "-o", "json"])));
}

export async function pods(selector: string): Promise<Pod[]> {
  return (await get(listOf(podShape), "pods", "-n", world.namespace, "-l", selector)).items;
}

/** What a pod of the deployments' namespace writes from now on, known once its process has ended. */
export async function logsUntilEnd(pod: string, deadlineMs: number): Promise<string> {
  const words = ["logs", "--follow", "--tail=0", "-n", world.namespace, pod];
  return await run(world.kubectl, [`--kubeconfig=${world.kubeconfig}`, ...words], { timeoutMs: deadlineMs });
}

export async function rankPods(role: "prefill" | "decode"): Promise<Pod[]> {
  return await pods(`csps.io/deployment=${world.deployment},csps.io/role=${role}`);
}

export async function nodes(): Promise<Map<string, Node>> {
  const list = await get(listOf(nodeShape), "nodes");
  return new Map(list.items.map((node) => [node.metadata.name, node]));
}

export async function deployment(name: string = world.deployment): Promise<Deployment> {
  return await get(deploymentShape, "cspsdeployment", name, "-n", world.namespace);
}

export function conditionOf(
  object: Deployment,
  type: string,
): { status: string; reason: string; message: string } {
  const found = object.status.conditions.find((condition) => condition.type === type);
  return found ?? { status: "absent", reason: "", message: `no condition ${type} yet` };
}

/** Waits until the deployment is Available and not Degraded, with every rank of its spec in an epoch. */
export async function healthy(deadlineMs: number): Promise<void> {
  await eventually("the deployment to be whole again", deadlineMs, async () => {
    const now = await deployment();
    for (const [type, wanted] of [
      ["Available", "True"],
      ["EnginesReady", "True"],
    ] as const) {
      const condition = conditionOf(now, type);
      demand(
        condition.status === wanted,
        `${type}=${condition.status} ${condition.reason}: ${condition.message}`,
      );
    }
    demand(
      conditionOf(now, "Degraded").status !== "True",
      `Degraded: ${conditionOf(now, "Degraded").message}`,
    );
    for (const pod of [...(await rankPods("prefill")), ...(await rankPods("decode"))]) {
      demand(isReady(pod), `pod ${pod.metadata.name} is not Ready`);
    }
  });
}

export async function openGateway(name: string = world.deployment): Promise<Forward> {
  return await eventually("a port-forward to the gateway", 180_000, () =>
    forward(access, world.namespace, `service/${name}-gateway`, GATEWAY_PORT),
  );
}

export async function openPod(name: string, port: number): Promise<Forward> {
  return await forward(access, world.namespace, `pod/${name}`, port);
}
