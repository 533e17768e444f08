/** What a scaling decision is made from, and what it says. All of it is data: `planScaling` of a recorded input repeats it. */
import type { CostProfile, SparsePrefill } from "../cost/profile.ts";

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** The three counts that are solved together. */
export interface Size {
  /** Prefill groups. */
  readonly groups: number;
  /** Ranks of one prefill group. */
  readonly groupSize: number;
  readonly decodeRanks: number;
}

export interface LengthClass {
  readonly name: string;
  /** Prompts of at most so many tokens that no shorter class takes. */
  readonly upToTokens: number;
  readonly ttftSeconds: number;
}

export interface Bounds {
  readonly groups: Range;
  readonly decodeRanks: Range;
  /** Group sizes that may be chosen, ascending. */
  readonly groupSizes: readonly number[];
  readonly gpuBudget: number;
  /** Prefill GPUs for each decode GPU. */
  readonly ratio: Range;
}

export interface ScalingPolicy {
  /** Ascending by length. */
  readonly classes: readonly LengthClass[];
  readonly tbtSeconds: number;
  readonly bounds: Bounds;
  /** Share of the groups' time that planned work may fill. */
  readonly utilisation: number;
  /** Share of the objectives that a smaller size must hold before it is taken. */
  readonly consolidation: number;
  /** A queue is planned to be gone after so long. */
  readonly drainSeconds: number;
  /** A smaller size must have been enough for so long. */
  readonly stabilizationMs: number;
  readonly maxSampleAgeMs: number;
  /** Share of the pods whose samples must be fresh. */
  readonly quorum: number;
  /** The most that prompts may be thinned before ranks are added; without it the cost's own attention stays. */
  readonly sparse?: SparsePrefill | undefined;
}

/** Prompts of one length class, as they arrive; never as they complete. */
export interface ClassDemand {
  readonly name: string;
  readonly arrivalsPerSecond: number;
  readonly queued: number;
  readonly p90Tokens: number;
  readonly meanTokens: number;
  readonly meanSquareTokens: number;
}

export interface DecodeDemand {
  readonly arrivalsPerSecond: number;
  readonly meanOutputTokens: number;
  /** Tokens in the KV of one request, over its life. */
  readonly meanContextTokens: number;
  /** Mean of its square, for how far the sum over all requests strays from its mean; without it all count as equal. */
  readonly meanSquareContextTokens?: number;
  /** Tokens in the KV of all requests now. */
  readonly liveContextTokens: number;
  /** Measured; 0 when nothing decodes. */
  readonly p90TbtSeconds: number;
}

/** Room in decode ranks that prompts hold while they are prefilled, on average: it is taken before a prompt starts. */
export interface PrefillingKv {
  readonly tokens: number;
  /** Sum over these prompts of the square of their tokens: the variance of `tokens`. */
  readonly squaredTokens: number;
}

export interface Sample {
  readonly podUid: string;
  readonly atMs: number;
}

export interface Demand {
  readonly classes: readonly ClassDemand[];
  readonly decode: DecodeDemand;
  /** Predicted arrivals over present ones; at most 1 has no effect. */
  readonly forecastRatio: number;
  /** Load repeats itself, and the forecast knows when it comes again. */
  readonly seasonal?: boolean;
}

export type Direction = "up" | "down";

/** What one decision leaves to the next. */
export interface ScalingMemory {
  readonly wishes: readonly { readonly atMs: number; readonly size: Size }[];
  readonly lastDecisionMs: number | undefined;
  readonly lastChange: Readonly<
    Record<Role, { readonly atMs: number; readonly direction: Direction } | undefined>
  >;
  /** Times of changes against the one before them, of the last half hour. */
  readonly reversalsMs: readonly number[];
  /** Tokens in the KV of all requests at the last few decisions. */
  readonly liveContextTokens?: readonly number[];
  /** How many of the longest classes are thinned, and how many had to be with room to spare. */
  readonly sparsity?: {
    readonly level: number;
    readonly wishes: readonly { readonly atMs: number; readonly level: number }[];
  };
}

export type Role = "prefill" | "decode";

export interface ScalingInput {
  readonly nowMs: number;
  readonly policy: ScalingPolicy;
  readonly cost: CostProfile;
  readonly current: Size;
  readonly pendingPods: number;
  readonly expectedPods: number;
  readonly samples: readonly Sample[];
  /** Undefined when nothing could be scraped. */
  readonly demand: Demand | undefined;
  readonly memory: ScalingMemory;
  /** Why `cost` stands for nothing measured yet, as a sentence: the present size is kept. */
  readonly uncalibrated?: string | undefined;
  /** Present when all ranks may be given back. */
  readonly zero?: ZeroFacts | undefined;
  /** Present while the state store can't be relied on. */
  readonly store?: StoreTrouble | undefined;
}

/** `away`: nothing shrinks. `fenced`: a newer leader was there, so that nothing may be decided here. */
export interface StoreTrouble {
  readonly kind: "away" | "fenced";
  /** A sentence. */
  readonly why: string;
}

export interface ZeroFacts {
  readonly afterIdleMs: number;
  /** Since a request last arrived, ran or waited; undefined when that is not known. */
  readonly idleForMs: number | undefined;
  /** Requests that gateways keep until there are ranks. */
  readonly waiting: number;
}

export type ScalingReason =
  | "Steady"
  | "ScaleUp"
  | "ScaleDown"
  | "SLOInfeasible"
  | "MetricsMissing"
  | "MetricsStale"
  | "MetricsAbsurd"
  | "PodsPending"
  | "ClockStepped"
  | "ContradictoryBounds"
  | "Fenced"
  | "Uncalibrated"
  | "ScaledToZero"
  | "Asleep"
  | "Woken";

export type ScalingRefusal =
  "Stabilizing" | "MaxSize" | "GpuBudget" | "RatioBound" | "MinSize" | "NotUnanimous" | "StateStoreAway";

export interface Because<Code extends string> {
  readonly code: Code;
  readonly sentence: string;
}

/** What one signal asks for; undefined ranks or groups: even the largest size is too small. */
export interface Wish {
  readonly signal: "arrivals" | "queue" | "forecast" | "kvMemory" | "tbt";
  readonly role: Role;
  readonly gpus: number | undefined;
}

export interface ScalingDecision {
  readonly input: ScalingInput;
  readonly size: Size;
  /** Degree that each class is served with. */
  readonly degrees: Readonly<Record<string, number>>;
  /** Where sparse attention is a knob: prompts of more tokens are thinned, none where it is absent. */
  readonly sparseAboveTokens?: number;
  readonly reasons: readonly Because<ScalingReason>[];
  readonly refusals: readonly Because<ScalingRefusal>[];
  readonly wishes: readonly Wish[];
  readonly memory: ScalingMemory;
}

export const noMemory: ScalingMemory = {
  wishes: [],
  lastDecisionMs: undefined,
  lastChange: { prefill: undefined, decode: undefined },
  reversalsMs: [],
};
