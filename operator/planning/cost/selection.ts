/** What attention reads of other ranks' tokens: everything, strided tokens by level, or chosen blocks. */
export interface StrideLevel {
  /** Ranks of one group of this level. */
  readonly groupSize: number;
  /** One of so many tokens of a head takes part. */
  readonly sparseDegree: number;
}

export type Selection =
  | { readonly kind: "dense" }
  /** Q, K and V thinned by position; a level includes the members of the smaller ones. */
  | { readonly kind: "stride"; readonly levels: readonly StrideLevel[] }
  /** K and V blocks chosen by content; Q stays whole, the prompt's tail is exact. */
  | {
      readonly kind: "blocks";
      /** Share of remote blocks that are fetched. */
      readonly budget: number;
      readonly blockTokens: number;
      readonly tailTokens: number;
    };

/** allToAll: heads are exchanged. kvGather: K and V travel to Q. tensor: activations are gathered and reduced. */
export type PrefillMode = "allToAll" | "kvGather" | "tensor";

/** One query in so many votes for the blocks to fetch. */
export const scoringStride = 8;

/** Share of a plain all-gather that zig-zag partitions need of causal K and V. */
export const zigZagShare = 0.75;
