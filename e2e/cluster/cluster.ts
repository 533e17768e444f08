/** A Kubernetes cluster to install on: one that the user names, or one of containers that we make and remove. */
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { COREDNS_VERSION, ensureClients } from "./binaries.ts";
import { cacheRoot } from "./cache.ts";
import { run, succeeds } from "./command.ts";
import { ensureDocker, stopOwnDocker } from "./docker.ts";
import { raiseInotifyLimit } from "./kernel.ts";
import { ensureNodeImage } from "./nodeImage.ts";
import { copyStore, ensureNodeStore } from "./nodeStore.ts";
import { say, step } from "./progress.ts";
import { registryAnswers } from "./registry.ts";
import { GPU_RESOURCE, GPUS_PER_WORKER, kindConfig, nodeNames } from "./topology.ts";

export interface Cluster {
  readonly name: string;
  readonly kubeconfigPath: string;
  /** Context in the kubeconfig; absent: its current one. */
  readonly context?: string;
  /** Nodes made by us, the control plane first; none when the user named the cluster. */
  readonly nodes: readonly string[];
  /** Digests and sizes of layers that every node has from the start. */
  readonly knownLayers: ReadonlyMap<string, number>;
  readonly kubectlPath: string;
  readonly helmPath: string;
}

const WORKERS = 4;
const PUBLIC_NODE_IMAGE =
  "kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a";
const REGISTER_DEADLINE_MS = 8 * 60_000;
const CREATE_DEADLINE_MS = 20 * 60_000;
const READY_ATTEMPTS = 4;

/** Folder of a cluster that we made. */
export function clusterFolder(name: string): string {
  return join(cacheRoot(), "clusters", name);
}

function accessFlags(cluster: Cluster, contextFlag: string): string[] {
  const context = cluster.context === undefined ? [] : [contextFlag, cluster.context];
  return ["--kubeconfig", cluster.kubeconfigPath, ...context];
}

export function kubectl(cluster: Cluster, args: readonly string[], input?: string): Promise<string> {
  return run(cluster.kubectlPath, [...accessFlags(cluster, "--context"), ...args], {
    ...(input === undefined ? {} : { input }),
  });
}

export function helm(cluster: Cluster, args: readonly string[]): Promise<string> {
  return run(cluster.helmPath, [...accessFlags(cluster, "--kube-context"), ...args]);
}

/** The cluster of a kubeconfig that the user named. */
export async function namedCluster(kubeconfigPath: string, context?: string): Promise<Cluster> {
  const clients = await ensureClients(["kubectl", "helm"]);
  const cluster: Cluster = {
    name: context ?? "named",
    kubeconfigPath,
    ...(context === undefined ? {} : { context }),
    nodes: [],
    knownLayers: new Map(),
    kubectlPath: clients.kubectl,
    helmPath: clients.helm,
  };
  await kubectl(cluster, ["--request-timeout=15s", "get", "nodes", "-o", "name"]);
  return cluster;
}

/** Lets every worker advertise GPUs. They stay through restarts, as capacity that the kubelet does not know of does. */
export async function advertiseGpus(cluster: Cluster): Promise<void> {
  const path = `/status/capacity/${GPU_RESOURCE.replace("/", "~1")}`;
  const patch = JSON.stringify([{ op: "add", path, value: String(GPUS_PER_WORKER) }]);
  const workers = cluster.nodes.slice(1);
  await Promise.all(
    workers.map((node) =>
      kubectl(cluster, ["patch", "node", node, "--subresource=status", "--type=json", "-p", patch]),
    ),
  );
}

/** What the nodes of a cluster of ours have had since it was made; later versions of the bases are not on them. */
const layersFile = (name: string): string => join(clusterFolder(name), "known-layers.json");

async function describe(name: string): Promise<Cluster> {
  const clients = await ensureClients(["kubectl", "helm"]);
  const known = JSON.parse(await readFile(layersFile(name), "utf8")) as [string, number][];
  return {
    name,
    kubeconfigPath: join(clusterFolder(name), "kubeconfig"),
    nodes: nodeNames(name, WORKERS),
    knownLayers: new Map(known),
    kubectlPath: clients.kubectl,
    helmPath: clients.helm,
  };
}

interface NodeSource {
  image: string;
  own: boolean;
}

async function nodeSource(): Promise<NodeSource> {
  if (await registryAnswers()) {
    const pulled = await step("pulling the node image", () =>
      succeeds("docker", ["pull", "-q", PUBLIC_NODE_IMAGE]),
    );
    if (pulled) return { image: PUBLIC_NODE_IMAGE, own: false };
    say("  the image registry answers but does not give the node image");
  }
  say("  no image registry: nodes and images are built here from Debian packages, Go modules and wheels");
  // First, because it makes all that the node image needs too, compiling and downloading at the same time.
  await ensureNodeStore();
  return { image: await ensureNodeImage(), own: true };
}

async function create(name: string, source: NodeSource, known: ReadonlyMap<string, number>): Promise<void> {
  const { kind } = await ensureClients(["kind"]);
  const folder = clusterFolder(name);
  await mkdir(folder, { recursive: true });
  const storeOf = (node: string): string => join(folder, "nodes", node, "containerd");
  if (source.own) {
    const store = await ensureNodeStore();
    await step("giving each node its image store", async () => {
      for (const node of nodeNames(name, WORKERS)) await copyStore(store, storeOf(node));
    });
  }
  await writeFile(layersFile(name), JSON.stringify([...known]));
  const config = kindConfig({
    name,
    workers: WORKERS,
    ...(source.own ? { storeOf, corednsTag: COREDNS_VERSION } : {}),
  });
  const args = ["create", "cluster", "--config", "-", "--image", source.image, "--wait", "600s"];
  await step(`creating cluster ${name} (1 control plane, ${WORKERS} workers)`, () =>
    run(kind, [...args, "--kubeconfig", join(folder, "kubeconfig")], {
      input: JSON.stringify(config),
      timeoutMs: CREATE_DEADLINE_MS,
      logFile: join(folder, "kind.log"),
    }),
  );
}

/** Asked more than once: a cluster that only is busy must not be made anew. */
async function answers(cluster: Cluster): Promise<boolean> {
  for (let attempt = 1; attempt <= READY_ATTEMPTS; attempt += 1) {
    if (attempt > 1) await sleep(2_000);
    const asked = kubectl(cluster, ["--request-timeout=10s", "get", "--raw", "/readyz"]);
    const ready = await asked.then(
      () => true,
      () => false,
    );
    if (ready) return true;
  }
  return false;
}

/** Returns when every node's kubelet has made itself known. */
async function registered(cluster: Cluster): Promise<void> {
  const deadline = Date.now() + REGISTER_DEADLINE_MS;
  for (;;) {
    const there = (await kubectl(cluster, ["get", "nodes", "-o", "name"])).trim().split("\n");
    const absent = cluster.nodes.filter((node) => !there.includes(`node/${node}`));
    if (absent.length === 0) return;
    if (Date.now() > deadline) throw new Error(`the kubelet of ${absent.join(", ")} did not register`);
    await sleep(1_000);
  }
}

/** What there is to do that needs Docker and no cluster; gets the layers that the nodes have from the start. */
export type Meanwhile = (known: ReadonlyMap<string, number>) => Promise<void>;

/** A running cluster of this name, made when there is none that answers; `meanwhile` runs while it is being made. */
export async function up(name: string, meanwhile: Meanwhile = async () => {}): Promise<Cluster> {
  await ensureDocker();
  if (existsSync(join(clusterFolder(name), "kubeconfig"))) {
    const cluster = await describe(name);
    if (await answers(cluster)) {
      await advertiseGpus(cluster);
      await meanwhile(cluster.knownLayers);
      return cluster;
    }
    say(`  cluster ${name} does not answer: it is made anew`);
  }
  const source = await nodeSource();
  await raiseInotifyLimit();
  // Also after a creation that was interrupted half-way.
  await down(name);
  const known = source.own ? (await ensureNodeStore()).known : new Map<string, number>();
  const [made, done] = await Promise.allSettled([create(name, source, known), meanwhile(known)]);
  if (made.status === "rejected") {
    await down(name).catch(() => undefined);
    throw made.reason;
  }
  if (done.status === "rejected") throw done.reason;
  const cluster = await describe(name);
  await step("waiting for every node and for DNS", async () => {
    await registered(cluster);
    await kubectl(cluster, ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=480s"]);
    await kubectl(cluster, [
      "-n",
      "kube-system",
      "rollout",
      "status",
      "deployment/coredns",
      "--timeout=480s",
    ]);
  });
  await advertiseGpus(cluster);
  return cluster;
}

/** Removes a cluster that we made, with its nodes' stores. */
export async function down(name: string): Promise<void> {
  if (await succeeds("docker", ["info"], { timeoutMs: 60_000 })) {
    const { kind } = await ensureClients(["kind"]);
    await run(kind, [
      "delete",
      "cluster",
      "--name",
      name,
      "--kubeconfig",
      join(clusterFolder(name), "kubeconfig"),
    ]);
  }
  await rm(clusterFolder(name), { recursive: true, force: true });
}

/** Also stops the Docker daemon if we started it and nothing else runs in it. */
export async function downAll(name: string): Promise<void> {
  await down(name);
  await stopOwnDocker();
}
