/**
 * Every metric of the operator. Names that dashboards for other operators already know (controller-runtime's,
 * client-go's) where the meaning is the same, `csps_*` for the rest.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** controller-runtime's buckets: 5 ms to 60 s. */
const reconcileSeconds = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5,
  1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
];
/** client-go's buckets: 10 ns to 1,000 s, a decade apart; below 1 ms nothing is measured here. */
const queueSeconds = [0.001, 0.01, 0.1, 1, 10, 100, 1000];
const listSeconds = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60];

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
    eventsDropped: counter("csps_events_dropped_total", "Kubernetes Events that were not written", [
      "reason",
    ]),

    gangRanks: gauge("csps_gang_ranks", "Ranks of a gang: desired, placed on a node, members of its epoch", [
      "namespace",
      "gang",
      "role",
      "state",
    ]),
    rosterPushes: counter("csps_roster_pushes_total", "Rosters sent to a rank, by result", [
      "namespace",
      "gang",
      "result",
    ]),
    rankReplacements: counter("csps_rank_replacements_total", "Rank pods replaced, by cause", [
      "namespace",
      "gang",
      "cause",
    ]),
    decisions: counter("csps_decisions_total", "Decisions taken, by subject", ["subject"]),
    decisionRefusals: counter(
      "csps_decision_refusals_total",
      "Candidates that a decision refused, by cause",
      ["subject", "cause"],
    ),
    placementSeconds: histogram(
      "csps_gang_placement_seconds",
      "Time to compute the place of one gang",
      ["role"],
      [0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    ),
  };
}
