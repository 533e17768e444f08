/**
 * The serving policies side by side at the same GPUs over a sweep of loads, the simulator beside recorded runs, and its
 * own speed:
 *
 *     npm run bench:simulator
 *
 * Ratios are over chunked prefill (servingTable.ts). A recorded run's held-out half is to be met within 8 % of its means
 * (calibrate/heldOut.ts). A million requests are to take no more than a minute of wall time on one core; beside it stands
 * processor time, helper threads included, which does not grow where the core is shared with others.
 */
import { join } from "node:path";
import { mostError } from "./calibrate/heldOut.ts";
import { judgeRecordings } from "./calibrate/judgeRecordings.ts";
import { givenTo } from "./commandLine.ts";
import { dataAbsent, dataFolder } from "./dataFolder.ts";
import type { Report } from "./report.ts";
import { servingPolicies } from "./serving/system.ts";
import {
  type Beside,
  besideChunked,
  bestRows,
  labelNote,
  missing,
  policyLabels,
  ratioRows,
} from "./servingTable.ts";
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

const usage = `usage: npm run bench:simulator [-- [--sweep] [--recordings] [--speed]]   all three by default
  --sweep        the serving policies side by side over a sweep of loads
  --recordings   the simulator beside recorded runs
  --speed        requests a minute of each policy
exit code: 0 what was run holds; 1 a held-out mean is off by more than ${mostError * 100} %, or a policy plays fewer than a
million requests a minute of wall time; 2 the command line is wrong`;

const flag = { type: "boolean" } as const;
const given = givenTo(usage, { options: { sweep: flag, recordings: flag, speed: flag } });
if (given !== undefined) {
  const { sweep, recordings, speed } = given.values;
  const all = sweep !== true && recordings !== true && speed !== true;
  if (all || sweep === true) playSweeps();
  if (all || recordings === true) judgeRecordings();
  if (all || speed === true) playFast();
}

function playSweeps(): void {
  const folder = dataFolder();
  if (folder === undefined) console.log(`Recorded traces are left out: there is ${dataAbsent}.`);
  else playSweep(loadTrace(join(folder, "traces/mooncake_conversation.jsonl.gz")), [1, 2, 4, 5, 6, 8]);
  playSweep(synthesize({ requests: 20_000, requestsPerSecond: 1, hugeShare: 0.01 }), [1, 2, 4, 8]);
}

function playSweep(trace: Trace, loads: readonly number[]): void {
  const { synthetic, name, requests } = trace;
  const titled = `${name}${synthetic ? " (synthetic)" : ""}`;
  console.log(
    `\n${titled}: ${requests.length} requests, 8B on 16 H100, 8 of them prefill where roles are fixed`,
  );
  const rows: readonly Beside[] = loads.flatMap((load) => {
    const reports = servingPolicies.map(
      (policy) => [policy, simulate({ trace: sped(trace, load), policy, shape, objectives })] as const,
    );
    const table = reports.map(
      ([policy, report]) => [`${load}x ${policyLabels[policy]}`, row(report)] as const,
    );
    console.table(Object.fromEntries(table));
    return besideChunked(load, new Map(reports));
  });
  console.log(`${titled}, over chunked prefill at the same load, above 1 where better. ${labelNote}`);
  const missed = missing(rows);
  if (missed !== undefined) console.log(missed);
  if (rows.every(({ values }) => values === undefined)) return;
  console.table(ratioRows(rows));
  console.log("The best of the sweep, with its load:");
  console.table(bestRows(rows));
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

function playFast(): void {
  const trace = synthesize({ requests: 1_000_000, requestsPerSecond: 8 });
  const perMinute = (seconds: number) => (trace.requests.length / seconds) * 60;
  const millions = (requests: number) => Number((requests / 1e6).toFixed(1));
  const speeds = servingPolicies.map((policy) => {
    const [start, used] = [performance.now(), process.cpuUsage()];
    simulate({ trace, policy, shape, objectives });
    const { user, system } = process.cpuUsage(used);
    const [wall, processor] = [(performance.now() - start) / 1e3, (user + system) / 1e6];
    return { policy, wall: perMinute(wall), processor: perMinute(processor) };
  });
  console.log("\nMillions of requests a minute:");
  console.table(
    Object.fromEntries(
      speeds.map(({ policy, wall, processor }) => [
        policyLabels[policy],
        { "of wall time": millions(wall), "of processor time": millions(processor) },
      ]),
    ),
  );
  const held = speeds.every(({ wall }) => wall >= leastRequestsPerMinute);
  console.log(`${held ? "held" : "NOT HELD"}: each policy plays a million requests a minute of wall time.`);
  if (!held) process.exitCode = 1;
}
