/** Who decides the size of a simulated system, and what it may look at: what a metrics endpoint tells, no more. */
import type { Demand, Size } from "../../planning/scaling/decision.ts";

export interface Observation {
  readonly nowSeconds: number;
  /** What serves now. */
  readonly active: Size;
  /** What was asked for last; what it has more than `active` is starting. */
  readonly wanted: Size;
  /** Share of the active prefill ranks' time that was used since the last look. */
  readonly prefillBusyShare: number;
  /** Share of the pool's KV that is in use. */
  readonly kvShare: number;
  /** Prompts that wait or are prefilled. */
  readonly promptsInFlight: number;
  /** By length class, over the last five minutes; made when it is asked for. */
  readonly demand: () => Demand;
  /** Prompts that arrived since the last look, as tokens. */
  readonly arrivedTokens: readonly number[];
}

export interface Autoscaler {
  readonly name: string;
  readonly everySeconds: number;
  readonly decide: (seen: Observation) => Size;
}
