/** One request of a trace. Times count from the trace's first request. */
export interface TraceRequest {
  readonly arrivalSeconds: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

export interface Trace {
  readonly name: string;
  /** Made by a generator, not recorded. */
  readonly synthetic: boolean;
  /** Ascending by arrival. */
  readonly requests: readonly TraceRequest[];
}

/** A line that can't be read, with its number, from 1, and the field that is wrong. */
export class TraceError extends Error {
  constructor(name: string, line: number, field: string, problem: string) {
    super(`${name}, line ${line}, field ${field}: ${problem}`);
    this.name = "TraceError";
  }
}

/** Requests in order of arrival, the first at zero. */
export function fromStart(requests: readonly TraceRequest[]): readonly TraceRequest[] {
  const sorted = [...requests].sort((a, b) => a.arrivalSeconds - b.arrivalSeconds);
  const start = sorted[0]?.arrivalSeconds ?? 0;
  return sorted.map((one) => ({ ...one, arrivalSeconds: one.arrivalSeconds - start }));
}
