/** A made-up trace: Poisson arrivals, lognormal lengths, a share of very long prompts, and bursts. Always so marked. */
import { exponential, lognormal, seeded } from "./random.ts";
import type { Trace, TraceRequest } from "./request.ts";

export interface SyntheticOptions {
  readonly seed: number;
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly medianInputTokens: number;
  /** Standard deviation of the logarithm of input lengths; 0 gives constant lengths. */
  readonly inputSigma: number;
  readonly medianOutputTokens: number;
  readonly outputSigma: number;
  readonly maxInputTokens: number;
  /** Share of prompts of 128K to 1M tokens, spread evenly over the logarithm. */
  readonly hugeShare: number;
  /** The rate is multiplied for the last tenth of each period of so many seconds; 0 for none. */
  readonly burstEverySeconds: number;
  readonly burstFactor: number;
}

const syntheticDefaults: SyntheticOptions = {
  seed: 1,
  requests: 10_000,
  requestsPerSecond: 3,
  medianInputTokens: 7_000,
  inputSigma: 1.1,
  medianOutputTokens: 250,
  outputSigma: 0.8,
  maxInputTokens: 1_048_576,
  hugeShare: 0,
  burstEverySeconds: 0,
  burstFactor: 10,
};

export function synthesize(over: Partial<SyntheticOptions> = {}): Trace {
  const options = { ...syntheticDefaults, ...over };
  const random = seeded(options.seed);
  const requests: TraceRequest[] = [];
  let arrivalSeconds = 0;
  for (let index = 0; index < options.requests; index++) {
    requests.push({
      arrivalSeconds,
      inputTokens: inputLength(options, random),
      outputTokens: Math.max(
        1,
        Math.round(lognormal(random, options.medianOutputTokens, options.outputSigma)),
      ),
    });
    arrivalSeconds += exponential(random, 1 / (options.requestsPerSecond * burst(options, arrivalSeconds)));
  }
  return { name: `synthetic, seed ${options.seed}`, synthetic: true, requests };
}

function inputLength(options: SyntheticOptions, random: () => number): number {
  if (random() < options.hugeShare) return Math.round(131_072 * 8 ** random());
  const length = Math.round(lognormal(random, options.medianInputTokens, options.inputSigma));
  return Math.min(options.maxInputTokens, Math.max(1, length));
}

function burst({ burstEverySeconds, burstFactor }: SyntheticOptions, atSeconds: number): number {
  if (burstEverySeconds === 0) return 1;
  return (atSeconds % burstEverySeconds) / burstEverySeconds >= 0.9 ? burstFactor : 1;
}
