/** The loads that autoscalers are compared on, and what the planner is held to on each. */
import { join } from "node:path";
import { dataFolder } from "./dataFolder.ts";
import type { Scenario } from "./scalingScenario.ts";
import type { Aims } from "./scalingVerdict.ts";
import { objectivesOf, profileNamed } from "./setting.ts";
import { loadTrace } from "./traces/load.ts";
import { synthesize } from "./traces/synthetic.ts";
import { manifold, spread } from "./traces/upscale.ts";

export type JudgedScenario = Scenario & Aims;

export const recordedTitles = [
  "8B, Mooncake hour, 8 times the users",
  "70B, Mooncake hour, 2 times the users",
  "8B, Azure code hour, 20 times the users",
  "70B, Azure code hour, 8 times the users",
] as const;

const small = { cost: profileNamed("8b-h100"), objectives: objectivesOf(20_000, 0.05) };
const large = { cost: profileNamed("70b-h100"), objectives: objectivesOf(10_000, 0.05) };

/** Of real hours, as many times the users; none where this machine has no recordings. */
export function recordedScenarios(): readonly JudgedScenario[] {
  const folder = dataFolder();
  if (folder === undefined) return [];
  const mooncake = spread(loadTrace(join(folder, "traces/mooncake_conversation.jsonl.gz")));
  const azure = loadTrace(join(folder, "traces/azure_2023_code.csv.gz"));
  return [
    { title: recordedTitles[0], trace: manifold(mooncake, 8), ...small },
    { title: recordedTitles[1], trace: manifold(mooncake, 2), ...large },
    { title: recordedTitles[2], trace: manifold(azure, 20), ...small },
    { title: recordedTitles[3], trace: manifold(azure, 8), ...large },
  ];
}

export function syntheticScenarios(): readonly JudgedScenario[] {
  const steady = synthesize({ requests: 43_200, requestsPerSecond: 8, maxInputTokens: 120_000 });
  const bursts = synthesize({
    requests: 20_000,
    requestsPerSecond: 1,
    hugeShare: 0.01,
    burstEverySeconds: 900,
  });
  return [
    { title: "8B, constant noisy load, synthetic", trace: steady, ...small, mostReversals: 1 },
    {
      title: "8B, 10x bursts and 1 % of 128K-1M tokens, synthetic",
      trace: bursts,
      cost: small.cost,
      objectives: objectivesOf(10_000, 0.05),
      knownMissOfHours: "bursts shorter than a rank's start; docs/benchmarks.md",
    },
  ];
}
