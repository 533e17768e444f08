/** Connects what the API client tells of itself to logs and metrics. */
import type { Telemetry } from "../kube/telemetry.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";

export function kubeTelemetry(logger: Logger, metrics: Metrics): Telemetry {
  const queueLabels = (name: string): { name: string; controller: string } => ({ name, controller: name });
  return {
    log(level, message, fields = {}) {
      logger.log(level, message, fields);
    },
    requestFinished(method, code, host) {
      metrics.restRequests.inc({ method, code, host });
    },
    listed(resource, items, seconds) {
      metrics.listSeconds.observe({ resource }, seconds);
      metrics.listItems.set({ resource }, items);
    },
    watchEnded(resource, cause) {
      metrics.watchesEnded.inc({ resource, cause });
    },
    queueDepth(queue, depth) {
      metrics.queueDepth.set(queueLabels(queue), depth);
    },
    queueAdded(queue) {
      metrics.queueAdds.inc(queueLabels(queue));
    },
    queueRetried(queue) {
      metrics.queueRetries.inc(queueLabels(queue));
    },
    queueWaited(queue, seconds) {
      metrics.queueSeconds.observe(queueLabels(queue), seconds);
    },
    queueWorked(queue, seconds) {
      metrics.workSeconds.observe(queueLabels(queue), seconds);
    },
    reconcileStarted(controller) {
      metrics.activeWorkers.inc({ controller });
    },
    reconciled(controller, result, seconds) {
      metrics.activeWorkers.dec({ controller });
      // controller-runtime counts a terminal failure as an error too.
      metrics.reconcileTotal.inc({ controller, result: result === "terminal_error" ? "error" : result });
      metrics.reconcileSeconds.observe({ controller }, seconds);
      if (result === "error" || result === "terminal_error") metrics.reconcileErrors.inc({ controller });
      if (result === "terminal_error") metrics.terminalErrors.inc({ controller });
    },
    leading(lease, isLeader) {
      metrics.leader.set({ name: lease }, isLeader ? 1 : 0);
    },
    eventDropped(reason) {
      metrics.eventsDropped.inc({ reason });
    },
  };
}
