/** What this room tells the outside of itself; the composition root connects it to logs and metrics. */

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface Telemetry {
  log(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** `code` is the HTTP status, or `<error>` when no answer came. */
  requestFinished(method: string, code: string, host: string): void;
  /** One full list, all pages. */
  listed(resource: string, items: number, seconds: number): void;
  /** A watch ended; `cause` is from a closed list: closed, expired, idle, malformed, failed. */
  watchEnded(resource: string, cause: string): void;
  queueDepth(queue: string, depth: number): void;
  queueAdded(queue: string): void;
  queueRetried(queue: string): void;
  /** Time from add to take. */
  queueWaited(queue: string, seconds: number): void;
  /** Time from take to done. */
  queueWorked(queue: string, seconds: number): void;
  reconcileStarted(controller: string): void;
  reconciled(controller: string, result: ReconcileResult, seconds: number): void;
  leading(lease: string, isLeader: boolean): void;
  eventDropped(reason: string): void;
}

export type ReconcileResult = "success" | "requeue_after" | "error" | "terminal_error";

const nothing = (): void => undefined;

/** Tells nobody anything. */
export const silent: Telemetry = {
  log: nothing,
  requestFinished: nothing,
  listed: nothing,
  watchEnded: nothing,
  queueDepth: nothing,
  queueAdded: nothing,
  queueRetried: nothing,
  queueWaited: nothing,
  queueWorked: nothing,
  reconcileStarted: nothing,
  reconciled: nothing,
  leading: nothing,
  eventDropped: nothing,
};
