/**
 * The serving policies side by side at the same GPUs over a sweep of loads, and the simulator's own speed:
 *
 *     npm run bench:simulator
 *
 * Ratios are of csps to chunked, above 1 where csps is better, at each load. The paper gives each as "up to" and does not
 * say at which load: beside its figure stands the best of the sweep, with the load at which it holds.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { dataAbsent, dataFolder } from "./dataFolder.ts";
import type { Report } from "./report.ts";
import { servingPolicies } from "./serving/system.ts";
import { objectivesOf, profileNamed } from "./setting.ts";
import { simulate } from "./simulate.ts";
import { loadTrace, sped } from "./traces/load.ts";
import type { Trace } from "./traces/request.ts";
import { synthesize } from "./traces/synthetic.ts";

const leastRequestsPerMinute = 1e6;
const shape = {
  cost: profileNamed("8b-h100"),
  ranks: 16,
  prefillRanks: 8,
  groupSize: 4,
  chunkTokens: 2048,
  tbtSeconds: 0.05,
};
const objectives = objectivesOf(20_000, 0.05);

const { values } = parseArgs({
  options: { help: { type: "boolean" }, speed: { type: "boolean" }, sweep: { type: "boolean" } },
});
const both = values.speed !== true && values.sweep !== true;
if (values.help === true)
  console.log("usage: npm run bench:simulator [-- --speed | --sweep]   both by default");
else {
  if (both || values.sweep === true) sweeps();
  if (both || values.speed === true) speed();
}

function sweeps(): void {
  const folder = dataFolder();
  if (folder === undefined) console.error(`Recorded traces are left out: ${dataAbsent}.`);
  else sweep(loadTrace(join(folder, "traces/mooncake_conversation.jsonl.gz")), [1, 2, 4, 5, 6, 8]);
  sweep(synthesize({ requests: 20_000, requestsPerSecond: 1, hugeShare: 0.01 }), [1, 2, 4, 8]);
}

interface Ratio {
  readonly name: string;
  readonly paper: number;
  readonly of: (csps: Report, chunked: Report) => number;
}

function ratioList(): readonly Ratio[] {
  const times = (pick: (report: Report) => number) => (csps: Report, chunked: Report) =>
    pick(chunked) / pick(csps);
  return [
    { name: "mean TTFT", paper: 7.5, of: times(({ ttftSeconds }) => ttftSeconds.mean) },
    { name: "mean TBT", paper: 1.92, of: times(({ tbtSeconds }) => tbtSeconds.mean) },
    { name: "mean response", paper: 9.8, of: times(({ responseSeconds }) => responseSeconds.mean) },
    { name: "prefill tokens/s", paper: 8.2, of: (a, b) => a.inputTokensPerSecond / b.inputTokensPerSecond },
    { name: "decode tokens/s", paper: 5.2, of: (a, b) => a.outputTokensPerSecond / b.outputTokensPerSecond },
  ];
}

function sweep(trace: Trace, loads: readonly number[]): void {
  const ratios = ratioList();
  const best = new Map<string, { readonly value: number; readonly load: number }>();
  const { synthetic, name, requests } = trace;
  console.log(
    `\n${name}${synthetic ? " (synthetic)" : ""}: ${requests.length} requests, 8B on 16 H100, 8 of them prefill`,
  );
  for (const load of loads) {
    const reports = servingPolicies.map((policy) =>
      simulate({ trace: sped(trace, load), policy, shape, objectives }),
    );
    console.table(Object.fromEntries(reports.map((report) => [`${load}x ${report.policy}`, row(report)])));
    const [csps, chunked] = ["csps", "chunked"].map((policy) => reports.find((one) => one.policy === policy));
    if (csps === undefined || chunked === undefined) continue;
    // Who refuses the longest prompts has an easier trace: their times can't be compared.
    if (chunked.refused !== csps.refused) {
      console.log(`${load}x: not comparable, ${chunked.refused} and ${csps.refused} refused`);
      continue;
    }
    for (const { name: what, of } of ratios) {
      const value = of(csps, chunked);
      if (value > (best.get(what)?.value ?? 0)) best.set(what, { value, load });
    }
    console.log(
      `${load}x csps to chunked: ${ratios.map(({ name: what, of }) => `${what} ${of(csps, chunked).toFixed(2)}`).join(", ")}`,
    );
  }
  const rows = ratios.flatMap(({ name: what, paper }) => {
    const found = best.get(what);
    return found === undefined
      ? []
      : [[what, { paper, best: Number(found.value.toFixed(2)), "at load": found.load }] as const];
  });
  console.table(Object.fromEntries(rows));
}

function row(report: Report): Readonly<Record<string, number>> {
  const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
  return {
    "TTFT s": rounded(report.ttftSeconds.mean, 2),
    "TTFT p99 s": rounded(report.ttftSeconds.p99, 2),
    "TBT ms": rounded(report.tbtSeconds.mean * 1e3, 1),
    "TBT p99 ms": rounded(report.tbtSeconds.p99 * 1e3, 1),
    "response s": rounded(report.responseSeconds.mean, 2),
    "tokens/s": rounded(report.outputTokensPerSecond, 0),
    "goodput/s": rounded(report.goodputPerSecond, 3),
    attainment: rounded(report.attainment, 4),
    "GPU-h": rounded(report.gpuHours, 2),
    refused: report.refused,
  };
}

/** By processor time, helper threads included: wall time of a core that nobody else uses is no longer. */
function speed(): void {
  const trace = synthesize({ requests: 1_000_000, requestsPerSecond: 8 });
  console.log("");
  const rows = servingPolicies.map((policy) => {
    const [start, used] = [performance.now(), process.cpuUsage()];
    simulate({ trace, policy, shape, objectives });
    const { user, system } = process.cpuUsage(used);
    const perMinute = (seconds: number) => (trace.requests.length / seconds) * 60;
    const ofCore = perMinute((user + system) / 1e6);
    if (ofCore < leastRequestsPerMinute) process.exitCode = 1;
    const millions = (requests: number) => Number((requests / 1e6).toFixed(1));
    const here = perMinute((performance.now() - start) / 1000);
    return [
      policy,
      { "million/min of a core": millions(ofCore), "of wall time here": millions(here) },
    ] as const;
  });
  console.table(Object.fromEntries(rows));
}
