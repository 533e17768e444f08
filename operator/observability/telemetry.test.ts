import { expect, test } from "vitest";
import { createLogger } from "./logger.ts";
import { createMetrics } from "./metrics.ts";
import { kubeTelemetry } from "./telemetry.ts";

test("what the API client tells arrives under the names that dashboards know", async () => {
  const metrics = createMetrics("test");
  const telemetry = kubeTelemetry(createLogger({ level: "error" }), metrics);
  telemetry.requestFinished("GET", "200", "server:6443");
  telemetry.queueAdded("spgroup");
  telemetry.queueDepth("spgroup", 4);
  telemetry.queueWaited("spgroup", 0.05);
  telemetry.queueWorked("spgroup", 0.5);
  telemetry.queueRetried("spgroup");
  for (const result of ["success", "requeue_after", "error", "terminal_error"] as const) {
    telemetry.reconcileStarted("spgroup");
    telemetry.reconciled("spgroup", result, 0.02);
  }
  telemetry.leading("operator", true);
  telemetry.listed("pods", 500, 0.2);
  telemetry.watchEnded("pods", "closed");
  telemetry.eventDropped("rate_limited");
  const text = await metrics.registry.metrics();
  for (const sample of [
    'rest_client_requests_total{method="GET",code="200",host="server:6443"} 1',
    'workqueue_adds_total{name="spgroup",controller="spgroup"} 1',
    'workqueue_depth{name="spgroup",controller="spgroup"} 4',
    'workqueue_queue_duration_seconds_bucket{le="0.1",name="spgroup",controller="spgroup"} 1',
    'workqueue_work_duration_seconds_sum{name="spgroup",controller="spgroup"} 0.5',
    'workqueue_retries_total{name="spgroup",controller="spgroup"} 1',
    'controller_runtime_reconcile_total{controller="spgroup",result="success"} 1',
    'controller_runtime_reconcile_total{controller="spgroup",result="error"} 2',
    'controller_runtime_reconcile_errors_total{controller="spgroup"} 2',
    'controller_runtime_terminal_reconcile_errors_total{controller="spgroup"} 1',
    'controller_runtime_reconcile_time_seconds_count{controller="spgroup"} 4',
    'controller_runtime_active_workers{controller="spgroup"} 0',
    'leader_election_master_status{name="operator"} 1',
    'csps_list_items{resource="pods"} 500',
    'csps_watches_ended_total{resource="pods",cause="closed"} 1',
    'csps_events_dropped_total{reason="rate_limited"} 1',
  ]) {
    expect(text).toContain(sample);
  }
});
