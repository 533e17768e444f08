/** Telemetry that remembers what it was told. */
import { silent, type Telemetry } from "../telemetry.ts";

export interface RecordedTelemetry extends Telemetry {
  readonly messages: { level: string; message: string; fields: Readonly<Record<string, unknown>> }[];
  readonly watchEnds: string[];
  readonly results: string[];
  readonly dropped: string[];
}

export function recordedTelemetry(): RecordedTelemetry {
  const recorded = { messages: [], watchEnds: [], results: [], dropped: [] } as Pick<
    RecordedTelemetry,
    "messages" | "watchEnds" | "results" | "dropped"
  >;
  return {
    ...silent,
    ...recorded,
    log: (level, message, fields = {}) => void recorded.messages.push({ level, message, fields }),
    watchEnded: (_, cause) => void recorded.watchEnds.push(cause),
    reconciled: (_, result) => void recorded.results.push(result),
    eventDropped: (reason) => void recorded.dropped.push(reason),
  };
}
