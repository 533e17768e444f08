/**
 * Three phases in M pieces on one link and one compute unit: bring the inputs of piece i+1 while piece i computes and
 * the results of i-1 return. t = time of both transfers, x = compute, a = latency of a collective, b = cost of a piece:
 *
 *   T(M) = max( t/M + 2a + x + M b ,  t + 2 M a + x/M + b )
 *   M*   = sqrt(t/b) when compute is longer, sqrt(x/2a) when the link is
 *
 * The optimum of the true schedule lies around M*; half and twice of it are tried as well. M = 1 has no overlap.
 */
export interface PhaseTimes {
  readonly transferSeconds: number;
  readonly computeSeconds: number;
  readonly latencySeconds: number;
  readonly pieceSeconds: number;
}

export interface PipelineLimits {
  readonly maxPieces: number;
  /** Share of the serial time that a pipeline must save to be used at all. */
  readonly minimumGain: number;
}

export interface PipelineChoice {
  readonly pieces: number;
  readonly seconds: number;
}

/** One piece: transfers and compute one after the other. */
export function serialSeconds(times: PhaseTimes): number {
  return times.transferSeconds + times.computeSeconds + 2 * times.latencySeconds;
}

export function pipelinedSeconds(times: PhaseTimes, pieces: number): number {
  const { transferSeconds: t, computeSeconds: x, latencySeconds: a, pieceSeconds: b } = times;
  return Math.max(t / pieces + 2 * a + x + pieces * b, t + 2 * pieces * a + x / pieces + b);
}

/** The number of pieces that takes least time; one when overlap gains less than is asked for. */
export function choosePieces(times: PhaseTimes, limits: PipelineLimits): PipelineChoice {
  const serial = { pieces: 1, seconds: serialSeconds(times) };
  if (times.transferSeconds <= 0) return serial;
  const ideal =
    times.computeSeconds >= times.transferSeconds
      ? Math.sqrt(times.transferSeconds / times.pieceSeconds)
      : Math.sqrt(times.computeSeconds / (2 * times.latencySeconds));
  const candidates = [ideal / 2, ideal, ideal * 2]
    .flatMap((one) => [Math.floor(one), Math.ceil(one)])
    .map((pieces) => Math.min(pieces, limits.maxPieces))
    .filter((pieces) => pieces > 1);
  let best = serial;
  for (const pieces of candidates) {
    const seconds = pipelinedSeconds(times, pieces);
    if (seconds < best.seconds) best = { pieces, seconds };
  }
  return serial.seconds - best.seconds >= limits.minimumGain * serial.seconds ? best : serial;
}
