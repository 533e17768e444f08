/** A request on its way, and the record of when its tokens came. */
import type { TraceRequest } from "../traces/request.ts";

export interface Job {
  readonly index: number;
  readonly request: TraceRequest;
  /** Objective of this prompt's length class. */
  readonly ttftSeconds: number;
}

/** Times of first and last tokens by index of the request; NaN where there was none. */
export class Outcomes {
  readonly firstSeconds: Float64Array;
  readonly lastSeconds: Float64Array;
  /** Requests that no part of the system could ever hold. */
  refused = 0;
  /** First tokens that came after their objective. */
  late = 0;

  constructor(requests: number) {
    this.firstSeconds = new Float64Array(requests).fill(Number.NaN);
    this.lastSeconds = new Float64Array(requests).fill(Number.NaN);
  }

  begin({ index, request, ttftSeconds }: Job, nowSeconds: number): void {
    this.firstSeconds[index] = nowSeconds;
    if (nowSeconds - request.arrivalSeconds > ttftSeconds) this.late += 1;
  }
}
