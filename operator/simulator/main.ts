/** Plays a trace through serving policies and prints the report of each as JSON. `--help` says how. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { htmlReport } from "./htmlReport.ts";
import type { Report } from "./report.ts";
import { servingPolicies, type ServingPolicy } from "./serving/system.ts";
import { objectivesOf, profileNamed, profileNames } from "./setting.ts";
import { simulate } from "./simulate.ts";
import { plannedAutoscaler } from "./autoscalers/planned.ts";
import { prepare } from "./scalingScenario.ts";
import { simulateScaled } from "./simulateScaled.ts";
import { loadTrace, sped } from "./traces/load.ts";
import type { Trace } from "./traces/request.ts";
import { synthesize } from "./traces/synthetic.ts";

const help = `Usage: node operator/simulator/main.ts [options]

Plays a trace through one or more serving policies on a virtual clock and prints one JSON report each.

  --trace PATH          .jsonl (Mooncake) or .csv (Azure), also .gz; without it a synthetic trace
  --speed N             arrivals come N times as often (1)
  --requests N          of the synthetic trace (10000)
  --rate N              requests per second of the synthetic trace (3)
  --huge-share N        share of synthetic prompts of 128K to 1M tokens (0)
  --seed N              of the synthetic trace (1)
  --policy NAME         ${servingPolicies.join(", ")}; may be repeated (all)
  --scaled              fixed roles whose counts the operator's scaling planner changes; --ranks is not used
  --profile NAME        ${profileNames.join(", ")} (8b-h100)
  --ranks N             ranks of the system (16)
  --prefill-ranks N     of them for prefill, where roles are fixed (half)
  --group-size N        ranks of a prefill group (8)
  --chunk-tokens N      tokens of a prompt beside one step, policy chunked (2048)
  --ttft-rate N         a prompt of L tokens is in time within 1 + L / N seconds (20000)
  --tbt SECONDS         objective of the time between tokens (0.05)
  --html FILE           also writes the reports as one page with plots, which needs no other file

Examples:
  node operator/simulator/main.ts --rate 8 --policy csps --policy chunked
  node operator/simulator/main.ts --trace conversation.jsonl.gz --speed 2 --ranks 32`;

const text = { type: "string" } as const;
const options = {
  help: { type: "boolean" },
  scaled: { type: "boolean" },
  trace: text,
  speed: text,
  requests: text,
  rate: text,
  "huge-share": text,
  seed: text,
  policy: { type: "string", multiple: true },
  profile: text,
  ranks: text,
  "prefill-ranks": text,
  "group-size": text,
  "chunk-tokens": text,
  "ttft-rate": text,
  tbt: text,
  html: text,
} as const;

try {
  run();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
}

function run(): void {
  const { values } = parseArgs({ options });
  if (values.help === true) {
    console.log(help);
    return;
  }
  const numberOf = (
    name: Exclude<keyof typeof options, "help" | "policy" | "scaled" | "html">,
    otherwise: number,
  ): number => {
    const given = values[name];
    const value = given === undefined ? otherwise : Number(given);
    if (!(value >= 0) || given === "" || !Number.isFinite(value))
      throw new Error(`--${name} ${given ?? ""} is not a number`);
    return value;
  };
  const countOf = (name: Parameters<typeof numberOf>[0], otherwise: number): number => {
    const value = numberOf(name, otherwise);
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`--${name} must be a whole number of at least 1`);
    return value;
  };
  const ranks = countOf("ranks", 16);
  const shape = {
    cost: profileNamed(values.profile ?? "8b-h100"),
    ranks,
    prefillRanks: countOf("prefill-ranks", Math.max(1, Math.floor(ranks / 2))),
    groupSize: countOf("group-size", Math.min(8, Math.max(1, Math.floor(ranks / 2)))),
    chunkTokens: countOf("chunk-tokens", 2048),
    tbtSeconds: numberOf("tbt", 0.05),
  };
  if (shape.prefillRanks >= ranks) throw new Error("--prefill-ranks must leave a rank that decodes");
  if (shape.prefillRanks % shape.groupSize !== 0) throw new Error("--group-size must divide --prefill-ranks");
  const played: Trace =
    values.trace === undefined
      ? synthesize({
          requests: countOf("requests", 10_000),
          requestsPerSecond: positive("rate", numberOf("rate", 3)),
          hugeShare: numberOf("huge-share", 0),
          seed: numberOf("seed", 1),
        })
      : loadTrace(values.trace);
  const trace = sped(played, positive("speed", numberOf("speed", 1)));
  const objectives = objectivesOf(positive("ttft-rate", numberOf("ttft-rate", 20_000)), shape.tbtSeconds);
  const reports: Report[] = [];
  const tell = (report: Report): void => {
    reports.push(report);
    console.log(JSON.stringify(report, undefined, 2));
  };
  if (values.scaled === true) {
    const { cost } = shape;
    const prepared = prepare({ title: trace.name, trace, cost, objectives });
    const autoscaler = plannedAutoscaler(cost, prepared.policy, prepared);
    tell(simulateScaled({ ...prepared, autoscaler }));
  } else {
    const policies = (values.policy ?? servingPolicies).map(policyNamed);
    for (const policy of policies) tell(simulate({ trace, policy, shape, objectives }));
  }
  if (values.html !== undefined) writeFileSync(values.html, htmlReport(reports));
}

function positive(name: string, value: number): number {
  if (value > 0) return value;
  throw new Error(`--${name} must be above 0`);
}

function policyNamed(name: string): ServingPolicy {
  const found = servingPolicies.find((one) => one === name);
  if (found === undefined) throw new Error(`no policy "${name}"; there are ${servingPolicies.join(", ")}`);
  return found;
}
