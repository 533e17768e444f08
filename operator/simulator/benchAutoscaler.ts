/**
 * Autoscalers side by side on the same traces and the same serving system: attainment, goodput, GPU-hours, reversals.
 *
 *     npm run bench:autoscaler                    all scenarios
 *     npm run bench:autoscaler -- "Mooncake"      those whose title has the word
 *     npm run bench:autoscaler -- --planner       the planner alone, from the size that it gives for the first minutes
 *
 * A reactive baseline is played at settings of its knob from lavish to starving (autoscalers/rivals.ts), closer where it
 * comes near csps. It is worse on both when, at every setting, it attains less for no more GPU-hours and uses more for as
 * much goodput (rivalry.ts). The clairvoyant schedule (autoscalers/clairvoyant.ts) is the yardstick: csps is to have 95 % of
 * its goodput at no more than 110 % of its GPU-hours. The constant size that has so much goodput, found with the trace
 * known, is what bursts cost those who can neither foresee them nor be late: it keeps their ranks all the time.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Autoscaler } from "./autoscalers/autoscaler.ts";
import { cheapestSchedule } from "./autoscalers/clairvoyant.ts";
import { fixedSize, type Schedule, scheduled } from "./autoscalers/fixed.ts";
import { plannedAutoscaler } from "./autoscalers/planned.ts";
import { type Rival, rivalsOf } from "./autoscalers/rivals.ts";
import type { Size } from "../planning/scaling/decision.ts";
import { dataAbsent, dataFolder } from "./dataFolder.ts";
import { prepare, type Prepared, type Scenario } from "./scalingScenario.ts";
import { against, playedAround } from "./rivalry.ts";
import { objectivesOf, profileNamed } from "./setting.ts";
import { simulateScaled, type ScaledReport } from "./simulateScaled.ts";
import { loadTrace } from "./traces/load.ts";
import { synthesize } from "./traces/synthetic.ts";
import { manifold, spread } from "./traces/upscale.ts";

const wantedAttainment = 0.99;
/** Share of the clairvoyant schedule's. */
const wantedGoodput = 0.95;
const stretchSeconds = 300;

const usage =
  "usage: npm run bench:autoscaler [-- [--planner] [WORD]]   --planner: nothing beside it, in seconds   " +
  "WORD: only scenarios whose title has it, as Mooncake, Azure, bursts";

const { values, positionals } = parseArgs({
  options: { help: { type: "boolean" }, planner: { type: "boolean" } },
  allowPositionals: true,
});
if (values.help === true) console.log(usage);
else playThose((positionals[0] ?? "").toLowerCase(), values.planner === true ? playAlone : compare);

function playThose(word: string, play: (scenario: Scenario) => void): void {
  const chosen = scenarios().filter(({ title }) => title.toLowerCase().includes(word));
  if (chosen.length === 0) throw new Error(`no scenario has "${word}" in its title; ${usage}`);
  for (const scenario of chosen) play(scenario);
}

function playAlone(scenario: Scenario): void {
  const setting = prepare(scenario);
  const autoscaler = plannedAutoscaler(setting.cost, setting.policy, setting);
  const { attainment, gpuHours, ttftSeconds } = simulateScaled({ ...setting, autoscaler });
  const { mean, p99 } = ttftSeconds;
  console.log(
    `${setting.title}: attainment ${percent(attainment)}, ${gpuHours.toFixed(2)} GPU-hours, ` +
      `TTFT mean ${mean.toFixed(2)} s, p99 ${p99.toFixed(2)} s`,
  );
}

function scenarios(): readonly Scenario[] {
  const small = { cost: profileNamed("8b-h100"), objectives: objectivesOf(20_000, 0.05) };
  const large = { cost: profileNamed("70b-h100"), objectives: objectivesOf(10_000, 0.05) };
  const steady = synthesize({ requests: 43_200, requestsPerSecond: 8, maxInputTokens: 120_000 });
  const bursts = synthesize({
    requests: 20_000,
    requestsPerSecond: 1,
    hugeShare: 0.01,
    burstEverySeconds: 900,
  });
  return [
    ...recorded(small, large),
    { title: "8B, constant noisy load, synthetic", trace: steady, ...small },
    {
      title: "8B, 10x bursts and 1 % of 128K-1M tokens, synthetic",
      trace: bursts,
      cost: small.cost,
      objectives: objectivesOf(10_000, 0.05),
    },
  ];
}

type Play = (autoscaler: Autoscaler, start?: Size, leastAttainment?: number) => ScaledReport;
type Kind = Pick<Scenario, "cost" | "objectives">;

function recorded(small: Kind, large: Kind): readonly Scenario[] {
  const folder = dataFolder();
  if (folder === undefined) {
    console.log(`Recorded traces are left out: ${dataAbsent}.`);
    return [];
  }
  const mooncake = spread(loadTrace(join(folder, "traces/mooncake_conversation.jsonl.gz")));
  const azure = loadTrace(join(folder, "traces/azure_2023_code.csv.gz"));
  return [
    { title: "8B, Mooncake hour, 8 times the users", trace: manifold(mooncake, 8), ...small },
    { title: "70B, Mooncake hour, 2 times the users", trace: manifold(mooncake, 2), ...large },
    { title: "8B, Azure code hour, 20 times the users", trace: manifold(azure, 20), ...small },
    { title: "70B, Azure code hour, 8 times the users", trace: manifold(azure, 8), ...large },
  ];
}

function compare(scenario: Scenario): void {
  const setting = prepare(scenario);
  const play: Play = (autoscaler, start = setting.start, leastAttainment = 0) =>
    simulateScaled({ ...setting, autoscaler, start, leastAttainment });
  const planned = () => plannedAutoscaler(setting.cost, setting.policy, setting);
  const ideal = clairvoyant(setting, largest(play(planned())), play);
  // The hour begins amid a day: everybody starts from the size that is right for its first minutes.
  const start = ideal.sizes[0]?.size;
  const csps = play(planned(), start);
  const constant = constantInHindsight(setting, ideal, play);
  const peak = play(fixedSize("static, the largest size of csps", largest(csps)), start);
  const { cost, bounds, objectives } = setting;
  const rivals = rivalsOf({ cost, bounds, tbtSeconds: objectives.tbtSeconds }).map((rival) => ({
    rival,
    runs: playedAround(csps, rival.settings, (knob) => play(rival.at(knob), start)),
  }));
  const { requests } = setting.trace;
  const seconds = requests.at(-1)?.arrivalSeconds ?? 0;
  console.log(`\n${setting.title}: ${requests.length} requests in ${Math.round(seconds)} s`);
  console.table(
    Object.fromEntries(
      [csps, ideal, constant, peak, ...rivals.flatMap(({ runs }) => runs)].map((one) => [
        one.policy,
        row(one, csps, ideal),
      ]),
    ),
  );
  const [goodput, hours] = [csps.attainment / ideal.attainment, csps.gpuHours / ideal.gpuHours];
  const reached = goodput >= wantedGoodput && hours <= 1.1;
  console.log(
    `csps has ${percent(goodput)} of the clairvoyant goodput at ${percent(hours)} of its GPU-hours: ` +
      `${reached ? "within" : "outside"} 95 % and 110 %.`,
  );
  console.log(`Sizes of csps: ${course(csps)}.`);
  for (const { rival, runs } of rivals) console.log(verdict(rival, runs, csps));
}

function verdict({ name }: Rival, runs: readonly ScaledReport[], csps: ScaledReport): string {
  const { atItsHours, atItsGoodput, worseOnBoth } = against(csps, runs);
  const least =
    atItsHours === undefined
      ? "uses more GPU-hours at every setting"
      : `attains ${percent(atItsHours.attainment)} (csps ${percent(csps.attainment)}) within its GPU-hours (${atItsHours.policy})`;
  const most =
    atItsGoodput === undefined
      ? "attains less at every setting"
      : `needs ${percent(atItsGoodput.gpuHours / csps.gpuHours)} of its GPU-hours for its goodput (${atItsGoodput.policy})`;
  return `${worseOnBoth ? "Worse on both" : "NOT worse on both"}: ${name} ${least}, and ${most}.`;
}

function course({ sizes }: ScaledReport): string {
  const told = sizes.map(
    ({ atSeconds, size }) => `${Math.round(atSeconds)} s ${size.groups}+${size.decodeRanks}`,
  );
  return told.length > 24 ? `${told.length}, the last ${told.at(-1) ?? ""}` : told.join(", ");
}

function largest({ sizes }: ScaledReport): Size {
  const [first] = sizes;
  if (first === undefined) throw new Error("a run has at least the size that it started with");
  return sizes.reduce(
    (most, { size }) => ({
      groupSize: size.groupSize,
      groups: Math.max(most.groups, size.groups),
      decodeRanks: Math.max(most.decodeRanks, size.decodeRanks),
    }),
    first.size,
  );
}

function clairvoyant(
  { trace, least: leastSize, startupSeconds }: Prepared,
  peak: Size,
  play: Play,
): ScaledReport {
  const named = "clairvoyant";
  const schedule = cheapestSchedule({
    start: { ...peak, groups: peak.groups + 1, decodeRanks: peak.decodeRanks + 1 },
    least: leastSize,
    seconds: trace.requests.at(-1)?.arrivalSeconds ?? 0,
    stretchSeconds,
    wantedAttainment,
    play: (tried, least) => play(scheduled(named, tried, startupSeconds), tried.sizes[0], least),
  });
  return play(scheduled(named, schedule, startupSeconds), schedule.sizes[0]);
}

function constantInHindsight(
  { trace, least: leastSize }: Prepared,
  ideal: ScaledReport,
  play: Play,
): ScaledReport {
  const named = "constant, the cheapest in hindsight";
  const peak = largest(ideal);
  const sizeOf = ({ sizes }: Schedule) => sizes[0] ?? peak;
  const schedule = cheapestSchedule({
    start: { ...peak, groups: 2 * peak.groups, decodeRanks: 2 * peak.decodeRanks },
    least: leastSize,
    seconds: 0,
    stretchSeconds: trace.requests.at(-1)?.arrivalSeconds ?? 0,
    wantedAttainment: wantedGoodput * ideal.attainment,
    play: (tried, least) => play(fixedSize(named, sizeOf(tried)), sizeOf(tried), least),
  });
  return play(fixedSize(named, sizeOf(schedule)), sizeOf(schedule));
}

function row(
  report: ScaledReport,
  csps: ScaledReport,
  ideal: ScaledReport,
): Readonly<Record<string, string | number>> {
  return {
    attainment: percent(report.attainment),
    "goodput of clairvoyant": percent(report.attainment / ideal.attainment),
    "GPU-hours": Number(report.gpuHours.toFixed(2)),
    "GPU-hours of clairvoyant": percent(report.gpuHours / ideal.gpuHours),
    "GPU-hours of csps": percent(report.gpuHours / csps.gpuHours),
    "TTFT p99 s": Number(report.ttftSeconds.p99.toFixed(2)),
    "reversals in any 30 min": report.mostReversalsInHalfHour,
  };
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
