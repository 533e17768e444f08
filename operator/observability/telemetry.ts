/** Connects what the API client tells of itself to logs and metrics. Its shape is the port in `kube/telemetry.ts`. */
import type { Logger, LogLevel } from "./logger.ts";
import type { Metrics } from "./metrics.ts";

export function kubeTelemetry(logger: Logger, metrics: Metrics) {
  const queueLabels = (name: string): { name: string; controller: string } => ({ name, controller: name });
  return {
    log(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
      logger.log(level, message, fields);
    },
    requestFinished(method: string, code: string, host: string): void {
      metrics.restRequests.inc({ method, code, host });
    },
    listed(resource: string, items: number, seconds: number): void {
      metrics.listSeconds.observe({ resource }, seconds);
      metrics.listItems.set({ resource }, items);
    },
    watchEnded(resource: string, cause: string): void {
      metrics.watchesEnded.inc({ resource, cause });
    },
    queueDepth(queue: string, depth: number): void {
      metrics.queueDepth.set(queueLabels(queue), depth);
    },
    queueAdded(queue: string): void {
      metrics.queueAdds.inc(queueLabels(queue));
    },
    queueRetried(queue: string): void {
      metrics.queueRetries.inc(queueLabels(queue));
    },
    queueWaited(queue: string, seconds: number): void {
      metrics.queueSeconds.observe(queueLabels(queue), seconds);
    },
    queueWorked(queue: string, seconds: number): void {
      metrics.workSeconds.observe(queueLabels(queue), seconds);
    },
    reconcileStarted(controller: string): void {
      metrics.activeWorkers.inc({ controller });
    },
    reconciled(controller: string, result: string, seconds: number): void {
      metrics.activeWorkers.dec({ controller });
      // controller-runtime counts a terminal failure as an error too.
      metrics.reconcileTotal.inc({ controller, result: result === "terminal_error" ? "error" : result });
      metrics.reconcileSeconds.observe({ controller }, seconds);
      if (result === "error" || result === "terminal_error") metrics.reconcileErrors.inc({ controller });
      if (result === "terminal_error") metrics.terminalErrors.inc({ controller });
    },
    leading(lease: string, isLeader: boolean): void {
      metrics.leader.set({ name: lease }, isLeader ? 1 : 0);
    },
    eventDropped(reason: string): void {
      metrics.eventsDropped.inc({ reason });
    },
  };
}
