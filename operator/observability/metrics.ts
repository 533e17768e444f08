/**
 * Every metric of the operator. Names that dashboards for other operators already know (controller-runtime's,
 * client-go's) where the meaning is the same, `csps_*` for the rest.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { CSPSDeployment, DecodePool, KubeObject, SPGroup } from "../kube/object.ts";

/** controller-runtime's buckets: 5 ms to 60 s. */
const reconcileSeconds = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5,
  1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
];
/** client-go's buckets: 10 ns to 1,000 s, a decade apart; below 1 ms nothing is measured here. */
const queueSeconds = [0.001, 0.01, 0.1, 1, 10, 100, 1000];
const listSeconds = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60];

const stallSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

export type Metrics = ReturnType<typeof createMetrics>;

/** A registry of its own, so that two operators in one process, as in tests, do not share counts. */
export function createMetrics(version: string) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
    new Counter({ name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> =>
    new Gauge({ name, help, labelNames, registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: number[],
  ): Histogram<L> => new Histogram({ name, help, labelNames, buckets, registers });

  gauge("csps_operator_info", "Always 1; the version is in the label", ["version"]).set({ version }, 1);
  return {
    registry,

    reconcileTotal: counter("controller_runtime_reconcile_total", "Reconciles by result", [
      "controller",
      "result",
    ]),
    reconcileErrors: counter("controller_runtime_reconcile_errors_total", "Reconciles that failed", [
      "controller",
    ]),
    terminalErrors: counter(
      "controller_runtime_terminal_reconcile_errors_total",
      "Reconciles that failed and are not retried",
      ["controller"],
    ),
    reconcileSeconds: histogram(
      "controller_runtime_reconcile_time_seconds",
      "Time of one reconcile",
      ["controller"],
      reconcileSeconds,
    ),
    activeWorkers: gauge("controller_runtime_active_workers", "Reconciles under way", ["controller"]),

    queueDepth: gauge("workqueue_depth", "Keys that wait", ["name", "controller"]),
    queueAdds: counter("workqueue_adds_total", "Keys added", ["name", "controller"]),
    queueRetries: counter("workqueue_retries_total", "Keys added again after a failure", [
      "name",
      "controller",
    ]),
    queueSeconds: histogram(
      "workqueue_queue_duration_seconds",
      "Time that a key waits before a worker takes it",
      ["name", "controller"],
      queueSeconds,
    ),
    workSeconds: histogram(
      "workqueue_work_duration_seconds",
      "Time that a worker has a key",
      ["name", "controller"],
      queueSeconds,
    ),

    restRequests: counter("rest_client_requests_total", "Requests to the API server", [
      "code",
      "method",
      "host",
    ]),
    leader: gauge("leader_election_master_status", "1 while this process holds the lease", ["name"]),

    listSeconds: histogram(
      "csps_list_duration_seconds",
      "Time of one full list, all pages",
      ["resource"],
      listSeconds,
    ),
    listItems: gauge("csps_list_items", "Objects that the last full list held", ["resource"]),
    watchesEnded: counter("csps_watches_ended_total", "Watches that ended, by cause", ["resource", "cause"]),
    rebalanceState: gauge(
      "csps_rebalance_state",
      "1 for the reason of the last look at a decode pool: what was decided, or why nothing was",
      ["namespace", "name", "reason"],
    ),
    rebalanceDecisions: counter("csps_rebalance_decisions_total", "Looks at a decode pool by their reason", [
      "namespace",
      "name",
      "reason",
    ]),
    rebalanceMoves: counter(
      "csps_rebalance_moves_total",
      "Moves of KV pages that were ordered, by how each ended, and calls that failed by their code",
      ["namespace", "name", "outcome"],
    ),
    rebalanceBytes: counter("csps_rebalance_bytes_total", "Bytes of KV in moves that were committed", [
      "namespace",
      "name",
    ]),
    rebalanceStallSeconds: histogram(
      "csps_rebalance_stall_seconds",
      "Time that a commit added to a decode step",
      ["namespace", "name"],
      stallSeconds,
    ),
    rebalanceImbalance: gauge(
      "csps_rebalance_imbalance_ratio",
      "How far the most loaded rank is above the mean of its pool: max / mean - 1",
      ["namespace", "name", "quantity"],
    ),
    scalingState: gauge("csps_autoscaler_state", "1 for the reason of the last decision on counts", [
      "namespace",
      "name",
      "mode",
      "reason",
    ]),
    scalingRefusals: counter(
      "csps_autoscaler_refusals_total",
      "What kept decisions on counts from what signals asked for, by cause",
      ["namespace", "name", "code"],
    ),
    scalingWanted: gauge(
      "csps_autoscaler_wanted_replicas",
      "Prefill groups and decode ranks that the last decision asks for",
      ["namespace", "name", "role"],
    ),
    scalingGpus: gauge("csps_autoscaler_wanted_gpus", "GPUs that the last decision asks for", [
      "namespace",
      "name",
    ]),
    scalingSampleAge: gauge(
      "csps_autoscaler_oldest_sample_seconds",
      "Age of the oldest sample of the last decision",
      ["namespace", "name"],
    ),
    eventsDropped: counter("csps_events_dropped_total", "Kubernetes Events that were not written", [
      "reason",
    ]),
  };
}

/** What the state metrics are read from at each scrape: the operator's caches. */
export interface StateSources {
  readonly deployments: () => readonly CSPSDeployment[];
  readonly groups: () => readonly SPGroup[];
  readonly pools: () => readonly DecodePool[];
}

const conditionValues: Readonly<Record<string, number>> = { True: 1, False: 0, Unknown: -1 };

/** Adds the state of the deployments and their gangs to a registry. An object that is gone leaves no series behind. */
export function addStateMetrics(registry: Registry, sources: StateSources): void {
  const registers = [registry];
  const gangs = (): { gang: SPGroup | DecodePool; role: string }[] => [
    ...sources.groups().map((gang) => ({ gang, role: "prefill" })),
    ...sources.pools().map((gang) => ({ gang, role: "decode" })),
  ];
  const labelsOf = ({ metadata }: KubeObject): { namespace: string; name: string } => ({
    namespace: metadata.namespace ?? "",
    name: metadata.name,
  });
  new Gauge({
    name: "csps_gang_ranks",
    help: "Ranks of a gang: wanted, needed to serve, and members of its present epoch",
    labelNames: ["namespace", "name", "role", "state"],
    registers,
    collect() {
      this.reset();
      for (const { gang, role } of gangs()) {
        const labels = { ...labelsOf(gang), role };
        this.set({ ...labels, state: "wanted" }, gang.spec.ranks);
        this.set({ ...labels, state: "needed" }, gang.spec.minRanks);
        this.set({ ...labels, state: "ready" }, gang.status?.ranksReady ?? 0);
      }
    },
  });
  new Gauge({
    name: "csps_gang_epoch",
    help: "Number of the communicator that the ranks of a gang form",
    labelNames: ["namespace", "name", "role"],
    registers,
    collect() {
      this.reset();
      for (const { gang, role } of gangs()) {
        if (gang.status?.epoch !== undefined) this.set({ ...labelsOf(gang), role }, gang.status.epoch);
      }
    },
  });
  new Gauge({
    name: "csps_gang_restarts",
    help: "Rank pods that were replaced since the gang was made",
    labelNames: ["namespace", "name", "role"],
    registers,
    collect() {
      this.reset();
      for (const { gang, role } of gangs()) this.set({ ...labelsOf(gang), role }, gang.status?.restarts ?? 0);
    },
  });
  new Gauge({
    name: "csps_deployment_condition",
    help: "Condition of a deployment: 1 true, 0 false, -1 unknown",
    labelNames: ["namespace", "name", "type", "reason"],
    registers,
    collect() {
      this.reset();
      for (const deployment of sources.deployments()) {
        for (const { type, reason, status } of deployment.status?.conditions ?? []) {
          this.set({ ...labelsOf(deployment), type, reason }, conditionValues[status] ?? -1);
        }
      }
    },
  });
}
