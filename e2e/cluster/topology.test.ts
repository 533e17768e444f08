import { expect, test } from "vitest";
import { kindConfig, nodeNames, workerPlan } from "./topology.ts";

test("four workers stand in two racks of two hosts, each rack in a zone of its own", () => {
  const labels = [0, 1, 2, 3].map((index) => workerPlan(index).labels);
  expect(labels.map((one) => one["csps.io/rack"])).toEqual(["r1", "r1", "r2", "r2"]);
  expect(labels.map((one) => one["network.topology.nvidia.com/leaf"])).toEqual(["r1", "r1", "r2", "r2"]);
  expect(labels.map((one) => one["topology.kubernetes.io/zone"])).toEqual([
    "zone-a",
    "zone-a",
    "zone-b",
    "zone-b",
  ]);
  expect(new Set(labels.map((one) => one["nvidia.com/gpu.clique"])).size).toBe(4);
});

test("nodes are named as kind names them", () => {
  expect(nodeNames("lab", 2)).toEqual(["lab-control-plane", "lab-worker", "lab-worker2"]);
});

test("every node gets a store of its own, and the API server listens on loopback only", () => {
  const config = kindConfig({
    name: "lab",
    workers: 2,
    storeOf: (node) => `/stores/${node}`,
    corednsTag: "v1",
  });
  expect(config).toMatchObject({
    networking: { apiServerAddress: "127.0.0.1", kubeProxyMode: "nftables" },
    nodes: ["lab-control-plane", "lab-worker", "lab-worker2"].map((node) => ({
      extraMounts: [{ hostPath: `/stores/${node}`, containerPath: "/var/lib/containerd" }],
    })),
  });
});

test("with a public node image kind keeps its own defaults", () => {
  const config = JSON.stringify(kindConfig({ name: "lab", workers: 1 }));
  expect(config).not.toContain("extraMounts");
  expect(config).not.toContain("ClusterConfiguration");
});
