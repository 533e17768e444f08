/**
 * Autoscalers side by side on the same traces and the same serving system: attainment, goodput, GPU-hours, reversals.
 *
 *     npm run bench:autoscaler                    all scenarios
 *     npm run bench:autoscaler -- "Mooncake"      those whose title has the word
 *     npm run bench:autoscaler -- --planner       the planner alone, from the size that it gives for the first minutes
 *
 * A reactive baseline is played at settings of its knob from lavish to starving (autoscalers/rivals.ts), closer where it
 * comes near csps. It is worse on both when, at every setting, it attains less for no more GPU-hours and uses more for as
 * much goodput (rivalry.ts). The clairvoyant schedule (autoscalers/clairvoyant.ts) is the yardstick. The constant size that
 * has so much of its goodput, found with the trace known, is what bursts cost those who can neither foresee them nor be
 * late: it keeps their ranks all the time. The rules, and which of them a load is spared, are in scalingVerdict.ts and
 * scalingTraces.ts; the exit code is 1 where one is not held.
 */
import { fixedSize } from "./autoscalers/fixed.ts";
import { plannedAutoscaler } from "./autoscalers/planned.ts";
import { rivalsOf } from "./autoscalers/rivals.ts";
import { clairvoyant, constantInHindsight, largest, type Play } from "./autoscalers/yardsticks.ts";
import { givenTo, refuse } from "./commandLine.ts";
import { dataAbsent, dataFolder } from "./dataFolder.ts";
import { percent } from "./percent.ts";
import { playedAround } from "./rivalry.ts";
import { prepare } from "./scalingScenario.ts";
import {
  type JudgedScenario,
  recordedScenarios,
  recordedTitles,
  syntheticScenarios,
} from "./scalingTraces.ts";
import { type Finding, findings, nearest, wantedGoodput } from "./scalingVerdict.ts";
import { simulateScaled, type ScaledReport } from "./simulateScaled.ts";

const usage = `usage: npm run bench:autoscaler [-- [--planner] [--all] [WORD]]
  --planner   the planner alone, in seconds; nothing is judged
  --all       every setting that a baseline was played at, not only those that come nearest to csps
  WORD        only scenarios whose title has it, as Mooncake, Azure, constant, bursts
exit code: 0 every rule is held, known misses aside; 1 one is not; 2 the command line is wrong`;

const given = givenTo(usage, {
  options: { planner: { type: "boolean" }, all: { type: "boolean" } },
  allowPositionals: true,
});
if (given !== undefined) playThose(given.positionals.join(" "), given.values);

function playThose(word: string, { planner = false, all = false }): void {
  const has = ({ title }: { readonly title: string }) => title.toLowerCase().includes(word.toLowerCase());
  const chosen = [...recordedScenarios(), ...syntheticScenarios()].filter(has);
  const absent = dataFolder() === undefined ? recordedTitles.filter((title) => has({ title })) : [];
  if (absent.length > 0)
    console.log(`Left out, and not judged: ${absent.join("; ")}. There is ${dataAbsent}.`);
  if (chosen.length + absent.length === 0) {
    refuse(`No scenario has "${word}" in its title.`, usage);
    return;
  }
  if (planner) {
    for (const scenario of chosen) playAlone(scenario);
    return;
  }
  const failed = chosen.flatMap((scenario) => {
    const found = compare(scenario, all);
    return found
      .filter(({ rule }) => rule === "NOT HELD" || rule === "KNOWN MISS")
      .map((one) => told(one, scenario.title));
  });
  const outcome = failed.length === 0 ? "every rule is held." : "not held, known misses among them:";
  console.log(`\nScenarios judged: ${chosen.length}; ${outcome}`);
  for (const line of failed) console.log(line);
}

function playAlone(scenario: JudgedScenario): void {
  const setting = prepare(scenario);
  const autoscaler = plannedAutoscaler(setting.cost, setting.policy, setting);
  const { attainment, gpuHours, ttftSeconds, mostReversalsInHalfHour } = simulateScaled({
    ...setting,
    autoscaler,
  });
  const { mean, p99 } = ttftSeconds;
  console.log(
    `${setting.title}: attainment ${percent(attainment)}, ${gpuHours.toFixed(2)} GPU-hours, ` +
      `TTFT mean ${mean.toFixed(2)} s, p99 ${p99.toFixed(2)} s, reversals in any 30 min ${mostReversalsInHalfHour}`,
  );
}

function compare(scenario: JudgedScenario, allSettings: boolean): readonly Finding[] {
  const setting = prepare(scenario);
  const play: Play = (autoscaler, start = setting.start, leastAttainment = 0) =>
    simulateScaled({ ...setting, autoscaler, start, leastAttainment });
  const planned = () => plannedAutoscaler(setting.cost, setting.policy, setting);
  const ideal = clairvoyant(setting, largest(play(planned())), play);
  // The hour begins amid a day: everybody starts from the size that is right for its first minutes.
  const start = ideal.sizes[0]?.size;
  const csps = play(planned(), start);
  const enough = { peak: largest(ideal), attainment: wantedGoodput * ideal.attainment };
  const constant = constantInHindsight(setting, enough, play);
  const peak = play(fixedSize("static, the largest size of csps", largest(csps)), start);
  const { cost, bounds, objectives } = setting;
  const rivals = rivalsOf({ cost, bounds, tbtSeconds: objectives.tbtSeconds }).map((rival) => ({
    name: rival.name,
    runs: playedAround(csps, rival.settings, (knob) => play(rival.at(knob), start)),
  }));
  console.log(`\n${described(setting)}`);
  const shown = rivals.flatMap(({ runs }) => (allSettings ? runs : nearest(csps, runs)));
  console.table(
    Object.fromEntries(
      [csps, ideal, constant, peak, ...shown].map((one) => [one.policy, row(one, csps, ideal)]),
    ),
  );
  console.log(`Sizes of csps: ${course(csps)}.`);
  const found = findings({ csps, ideal, rivals }, scenario);
  for (const one of found) console.log(told(one));
  if (found.some(({ rule }) => rule === "NOT HELD")) process.exitCode = 1;
  return found;
}

function described({ title, trace, policy }: ReturnType<typeof prepare>): string {
  const seconds = Math.round(trace.requests.at(-1)?.arrivalSeconds ?? 0);
  const groupSizes = policy.bounds.groupSizes.join(", ");
  return (
    `${title}: ${trace.requests.length} requests in ${seconds} s\n` +
    `Groups have ${groupSizes} ranks throughout: what is decided here is how many groups and decode ranks there are.`
  );
}

function told({ rule, sentence }: Finding, where?: string): string {
  return `${rule}: ${where === undefined ? "" : `${where}: `}${sentence}.`;
}

function course({ sizes }: ScaledReport): string {
  const steps = sizes.map(
    ({ atSeconds, size }) => `${Math.round(atSeconds)} s ${size.groups}+${size.decodeRanks}`,
  );
  return steps.length > 24 ? `${steps.length}, the last ${steps.at(-1) ?? ""}` : steps.join(", ");
}

function row(
  report: ScaledReport,
  csps: ScaledReport,
  ideal: ScaledReport,
): Readonly<Record<string, string | number>> {
  return {
    "SLO attainment": percent(report.attainment),
    "GPU-hours": Number(report.gpuHours.toFixed(2)),
    "goodput of clairvoyant": percent(report.attainment / ideal.attainment),
    "GPU-hours of clairvoyant": percent(report.gpuHours / ideal.gpuHours),
    "GPU-hours of csps": percent(report.gpuHours / csps.gpuHours),
    "TTFT p99 s": Number(report.ttftSeconds.p99.toFixed(2)),
    "reversals in any 30 min": report.mostReversalsInHalfHour,
  };
}
