/** Builders with defaults for the tests of planning. */
import type { EngineReport, GangObservation, GangSpec, RankPod } from "../gang/observed.ts";
import type { RankShape } from "../placement/eligibility.ts";
import { type Cluster, clusterOf } from "../placement/cluster.ts";
import type { PlacementRequest } from "../placement/place.ts";
import { clusterSnapshot, type NodeView, type PodOnNode } from "../topology/snapshot.ts";

export interface NodeShape {
  readonly name: string;
  readonly gpus?: number;
  readonly rack?: string;
  readonly zone?: string;
  readonly clique?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly ready?: boolean;
  readonly unschedulable?: boolean;
  readonly taints?: readonly { key: string; value?: string; effect: string }[];
}

export function aNode(shape: NodeShape): NodeView {
  const { name, gpus = 1, rack, zone, clique, ready = true, unschedulable = false, taints = [] } = shape;
  const labels: Record<string, string> = { "kubernetes.io/hostname": name, ...shape.labels };
  if (rack !== undefined) labels["csps.io/rack"] = rack;
  if (zone !== undefined) labels["topology.kubernetes.io/zone"] = zone;
  if (clique !== undefined) labels["nvidia.com/gpu.clique"] = clique;
  return {
    metadata: { name, labels },
    spec: { unschedulable, taints },
    status: {
      allocatable: { cpu: "8", memory: "16Gi", pods: "110", "nvidia.com/gpu": String(gpus) },
      conditions: [{ type: "Ready", status: ready ? "True" : "Unknown" }],
    },
  };
}

export function aPod(node: string, gpus: number): PodOnNode {
  return { node, spec: { containers: [{ resources: { limits: { "nvidia.com/gpu": gpus } } }] } };
}

export function aCluster(
  nodes: readonly NodeShape[],
  pods: readonly PodOnNode[] = [],
  named: readonly string[] = [],
): Cluster {
  return clusterOf(clusterSnapshot(nodes.map(aNode), pods), named);
}

export const oneGpu: RankShape = {
  request: { "nvidia.com/gpu": 1000, pods: 1000 },
  nodeSelector: {},
  tolerations: [],
};

export function aRequest(over: Partial<PlacementRequest> = {}): PlacementRequest {
  return { shape: oneGpu, ranks: 1, stayWith: [], near: [], siblings: [], ...over };
}

/** A rank that runs, is Ready and is of revision r1. */
export function aRankPod(ordinal: number, over: Partial<RankPod> = {}): RankPod {
  return {
    rankId: `g-${String(ordinal)}`,
    ordinal,
    uid: `uid-${String(ordinal)}`,
    revision: "r1",
    gated: false,
    node: `n${String(ordinal)}`,
    bound: true,
    phase: "Running",
    ready: true,
    address: `10.0.0.${String(ordinal)}`,
    nodeReady: true,
    deletingForMs: undefined,
    unschedulableForMs: undefined,
    cordoned: false,
    leaves: undefined,
    exitReason: undefined,
    ...over,
  };
}

/** A prefill gang of two. */
export function aGangSpec(over: Partial<GangSpec> = {}): GangSpec {
  return { group: "g", role: "prefill", revision: "r1", ranks: 2, minRanks: 1, drainMs: 300_000, ...over };
}

/** A gang of two whose engines are silent and that has had no roster. */
export function anObservation(over: Partial<GangObservation> = {}): GangObservation {
  return {
    spec: aGangSpec(),
    pods: [],
    emptyingBytes: new Map(),
    engines: new Map(),
    silentForMs: new Map(),
    memory: { rosterGeneration: 0, rosterMembers: [], failuresMs: [], restarts: 0, lastFailure: "" },
    nowMs: 1_000_000,
    gatedForMs: 0,
    answeringForMs: 0,
    ...over,
  };
}

/** What the engine of rank `ordinal` says while it serves in a group of two; keyed as in an observation. */
export function anEngine(ordinal: number, over: Partial<EngineReport> = {}): readonly [string, EngineReport] {
  const rankId = `g-${String(ordinal)}`;
  const report = {
    ...{
      rankId,
      incarnation: `uid-${String(ordinal)}`,
      phase: "serving",
      reason: "",
      fence: 1,
      generation: 1,
    },
    ...{
      epoch: 2,
      epochMembers: ["g-0", "g-1"],
      coordinator: "g-0",
      busy: false,
      heldPages: 0,
      kvFormat: "f",
    },
    ...over,
  };
  return [rankId, report];
}
