/** What the autoscaler plans from: prompts as they arrive, by length class, and where they are on their way. */
import type { Registry } from "prom-client";
import { Counter, Gauge, Histogram } from "prom-client";
import { demandMetrics, promptStages, type PromptStage } from "../../wire/demandMetrics.ts";
import { classOf, type LengthClass, oneClass } from "./lengthClass.ts";

/** Half an octave apart, from 16 tokens to two million: a p90 is known to within a fifth. */
const tokenBuckets = Array.from({ length: 35 }, (_, half) => Math.round(16 * 2 ** (half / 2)));
const coldStartBuckets = [1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1_200];

export interface DemandCount {
  /** A prompt of so many tokens is here; ends with `ended` of what is returned. */
  arrived(tokens: number): PromptCount;
  readonly waitingForRanks: Pick<Gauge, "inc" | "dec">;
  readonly coldStart: Pick<Histogram, "observe">;
}

export interface PromptCount {
  /** Stages follow one another; a step back, as after a recovery, is not counted. */
  reached(stage: PromptStage): void;
  ended(outputTokens: number): void;
}

export function countDemand(registry: Registry, classes: readonly LengthClass[]): DemandCount {
  const registers = [registry];
  const labelNames = ["class"] as const;
  const tokens = new Histogram({
    name: demandMetrics.promptTokens,
    help: "Tokens of prompts as they arrive, by length class",
    labelNames,
    buckets: tokenBuckets,
    registers,
  });
  const squared = new Counter({
    name: demandMetrics.promptTokensSquared,
    help: "Sum of the squares of the tokens of prompts, by length class",
    labelNames,
    registers,
  });
  const prompts = new Gauge({
    name: demandMetrics.prompts,
    help: "Prompts here now: before their prefill, in it, and decoding",
    labelNames: ["class", "stage"] as const,
    registers,
  });
  const output = new Histogram({
    name: demandMetrics.outputTokens,
    help: "Tokens of answers as they end",
    buckets: tokenBuckets,
    registers,
  });
  // A class without a series is one that was not read; one without prompts is a zero.
  for (const { name } of classes) {
    tokens.zero({ class: name });
    squared.inc({ class: name }, 0);
    for (const stage of promptStages) prompts.set({ class: name, stage }, 0);
  }
  return {
    arrived(count) {
      const name = classOf(classes, count)?.name ?? oneClass[0].name;
      tokens.observe({ class: name }, count);
      squared.inc({ class: name }, count ** 2);
      let at: PromptStage = "waiting";
      prompts.inc({ class: name, stage: at });
      return {
        reached(stage) {
          if (promptStages.indexOf(stage) <= promptStages.indexOf(at)) return;
          prompts.dec({ class: name, stage: at });
          prompts.inc({ class: name, stage });
          at = stage;
        },
        ended(outputTokens) {
          prompts.dec({ class: name, stage: at });
          output.observe(outputTokens);
        },
      };
    },
    waitingForRanks: new Gauge({
      name: demandMetrics.waitingForRanks,
      help: "Requests that wait here until there are ranks to serve them",
      registers,
    }),
    coldStart: new Histogram({
      name: demandMetrics.coldStart,
      help: "From the first request that found no ranks to the first ranks that serve",
      buckets: coldStartBuckets,
      registers,
    }),
  };
}
