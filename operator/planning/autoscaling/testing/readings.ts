/** Readings of one gateway with defaults: one class, lengths within two bounds, nothing under way. */
import type { ClassReading, GatewayReading } from "../reading.ts";

export interface ReadingShape {
  readonly pod?: string;
  readonly atSeconds: number;
  /** Prompts since the process began, all of `length` tokens. */
  readonly arrived: number;
  readonly length?: number;
  readonly waiting?: number;
  readonly decoding?: number;
  readonly waitingForRanks?: number;
}

export const lengthBounds = [64, 128, 256, 512, 1_024, Infinity];

export function aReading(shape: ReadingShape): GatewayReading {
  const { arrived, length = 100, pod = "g1" } = shape;
  const one: ClassReading = {
    arrived,
    tokens: arrived * length,
    squared: arrived * length ** 2,
    lengths: lengthBounds.map((upTo) => ({ upTo, count: length <= upTo ? arrived : 0 })),
    waiting: shape.waiting ?? 0,
    prefilling: 0,
    decoding: shape.decoding ?? 0,
  };
  return {
    podUid: `uid-${pod}`,
    pod,
    atMs: shape.atSeconds * 1000,
    classes: { all: one },
    output: { count: arrived, tokens: arrived * 40 },
    tokenGaps: [
      { upTo: 0.05, count: arrived * 10 },
      { upTo: 0.1, count: arrived * 20 },
      { upTo: Infinity, count: arrived * 20 },
    ],
    waitingForRanks: shape.waitingForRanks ?? 0,
  };
}
