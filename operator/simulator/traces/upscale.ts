/** Changes to a recorded trace that keep its shape over minutes. What was changed stands in its name. */
import { seeded } from "./random.ts";
import { fromStart, type Trace, type TraceRequest } from "./request.ts";

/**
 * Requests of one timestamp spread evenly up to the next: recordings round times to a step (3 s in Mooncake's), and a
 * step's requests did not come at one instant.
 */
export function spread(trace: Trace): Trace {
  const requests: TraceRequest[] = [];
  for (let from = 0; from < trace.requests.length;) {
    const atSeconds = trace.requests[from]?.arrivalSeconds ?? 0;
    let to = from;
    while (trace.requests[to]?.arrivalSeconds === atSeconds) to += 1;
    const next = trace.requests[to]?.arrivalSeconds ?? atSeconds;
    for (let index = from; index < to; index++) {
      const request = trace.requests[index];
      if (request === undefined) break;
      requests.push({
        ...request,
        arrivalSeconds: atSeconds + ((next - atSeconds) * (index - from)) / (to - from),
      });
    }
    from = to;
  }
  return { ...trace, requests };
}

/**
 * The trace of `times` as many users: each request comes so often, each copy shifted by up to half a minute. What would
 * come before the start comes as long after it, and so at the end: the hour begins and ends amid a day, at its full rate.
 */
export function manifold(trace: Trace, times: number, seed = 1): Trace {
  if (times === 1) return trace;
  const random = seeded(seed);
  const end = trace.requests.at(-1)?.arrivalSeconds ?? 0;
  const shifted = (seconds: number) => {
    const later = Math.abs(seconds + (random() - 0.5) * 60);
    return later > end ? Math.max(0, 2 * end - later) : later;
  };
  const requests = trace.requests.flatMap((one) =>
    Array.from({ length: times }, () => ({ ...one, arrivalSeconds: shifted(one.arrivalSeconds) })),
  );
  return { ...trace, name: `${trace.name} x${times} users`, requests: fromStart(requests) };
}

/** Requests from one moment to another. */
export function part(trace: Trace, fromSeconds: number, toSeconds: number): Trace {
  const requests = trace.requests.filter(
    ({ arrivalSeconds }) => arrivalSeconds >= fromSeconds && arrivalSeconds < toSeconds,
  );
  const name = `${trace.name} from ${fromSeconds} s to ${toSeconds} s`;
  return { ...trace, name, requests: fromStart(requests) };
}
