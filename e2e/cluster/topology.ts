/** The shape of our test cluster: two racks of two GPU hosts, and what tells so to a scheduler. */

export interface WorkerPlan {
  labels: Record<string, string>;
}

/** One, so that the ranks of a group lie on several hosts, and losing a host costs a group one rank. */
export const GPUS_PER_WORKER = 1;
export const GPU_RESOURCE = "nvidia.com/gpu";

/** Worker `index` of the cluster: hosts 0 and 1 stand in rack r1, hosts 2 and 3 in rack r2. */
export function workerPlan(index: number): WorkerPlan {
  const rack = `r${Math.floor(index / 2) + 1}`;
  return {
    labels: {
      "topology.kubernetes.io/zone": rack === "r1" ? "zone-a" : "zone-b",
      "csps.io/rack": rack,
      "network.topology.nvidia.com/leaf": rack,
      // NVLink domains end at the host here; one clique per host.
      "nvidia.com/gpu.clique": `${rack}-h${(index % 2) + 1}`,
    },
  };
}

export interface KindOptions {
  name: string;
  workers: number;
  /** Host folder for each node's /var/lib/containerd; absent: inside the node's own volume. */
  storeOf?: (node: string) => string;
  /** Tag of CoreDNS when the node image is our own. */
  corednsTag?: string;
}

/** Names that kind gives to the nodes, the control plane first. */
export function nodeNames(name: string, workers: number): string[] {
  const numbered = Array.from(
    { length: workers },
    (_, index) => `${name}-worker${index === 0 ? "" : index + 1}`,
  );
  return [`${name}-control-plane`, ...numbered];
}

/** kind's configuration as an object (kind reads YAML, and JSON is YAML). */
export function kindConfig(options: KindOptions): object {
  const nodes = nodeNames(options.name, options.workers).map((node, index) => ({
    role: index === 0 ? "control-plane" : "worker",
    ...(index === 0 ? {} : workerPlan(index - 1)),
    ...(options.storeOf === undefined
      ? {}
      : { extraMounts: [{ hostPath: options.storeOf(node), containerPath: "/var/lib/containerd" }] }),
  }));
  const patches = [
    { kind: "KubeletConfiguration", apiVersion: "kubelet.config.k8s.io/v1beta1", failCgroupV1: false },
    // The machine's connection-tracking limits are not a container's to set.
    {
      kind: "KubeProxyConfiguration",
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      conntrack: { maxPerCore: 0 },
    },
    ...(options.corednsTag === undefined
      ? []
      : [{ kind: "ClusterConfiguration", dns: { imageTag: options.corednsTag } }]),
  ];
  return {
    kind: "Cluster",
    apiVersion: "kind.x-k8s.io/v1alpha4",
    name: options.name,
    networking: {
      apiServerAddress: "127.0.0.1",
      ...(options.corednsTag === undefined ? {} : { kubeProxyMode: "nftables" }),
    },
    nodes,
    kubeadmConfigPatches: patches.map((patch) => JSON.stringify(patch)),
  };
}
