/**
 * What a comparison of autoscalers comes to: the rules, and on each trace a sentence for each with whether it is held. The
 * planner is to have 95 % of the clairvoyant schedule's goodput at no more than 110 % of its GPU-hours, to be better on both
 * than every rival (rivalry.ts), and to turn back no oftener than a load allows.
 */
import { percent } from "./percent.ts";
import { against, type Played } from "./rivalry.ts";

/** Of the clairvoyant schedule's. */
export const wantedGoodput = 0.95;
export const mostHours = 1.1;

/** What differs between the loads that the planner is judged on. */
export interface Aims {
  /** In any half hour; where there is none, reversals are told and not judged. */
  readonly mostReversals?: number;
  /** Why more than 110 % of the GPU-hours are known and not counted as a failure here. */
  readonly knownMissOfHours?: string;
}

export interface Side extends Played {
  /** The autoscaler and its setting. */
  readonly policy: string;
  readonly mostReversalsInHalfHour: number;
}

export interface Sides<Run extends Side> {
  readonly csps: Run;
  readonly ideal: Run;
  readonly rivals: readonly { readonly name: string; readonly runs: readonly Run[] }[];
}

export interface Finding {
  readonly rule: "held" | "NOT HELD" | "KNOWN MISS" | "not judged";
  readonly sentence: string;
}

export function findings<Run extends Side>(
  { csps, ideal, rivals }: Sides<Run>,
  aims: Aims,
): readonly Finding[] {
  return [
    goodputFinding(csps, ideal),
    hoursFinding(csps, ideal, aims.knownMissOfHours),
    reversalFinding(csps, aims.mostReversals),
    ...rivals.map((rival) => rivalFinding(csps, rival)),
  ];
}

function goodputFinding(csps: Side, ideal: Side): Finding {
  const share = csps.attainment / ideal.attainment;
  return {
    rule: share >= wantedGoodput ? "held" : "NOT HELD",
    sentence: `csps has ${percent(share)} of the clairvoyant goodput, ${percent(wantedGoodput)} is the least`,
  };
}

function hoursFinding(csps: Side, ideal: Side, known: string | undefined): Finding {
  const share = csps.gpuHours / ideal.gpuHours;
  const sentence = `csps uses ${percent(share)} of the clairvoyant GPU-hours, ${percent(mostHours)} is the most`;
  if (share <= mostHours) return { rule: "held", sentence };
  if (known !== undefined) return { rule: "KNOWN MISS", sentence: `${sentence} (${known})` };
  return { rule: "NOT HELD", sentence };
}

function reversalFinding({ mostReversalsInHalfHour: most }: Side, allowed: number | undefined): Finding {
  const sentence = `csps turns back ${most} times at most within half an hour`;
  if (allowed === undefined) return { rule: "not judged", sentence };
  return {
    rule: most <= allowed ? "held" : "NOT HELD",
    sentence: `${sentence}, ${allowed} is the most on a constant load`,
  };
}

function rivalFinding(
  csps: Side,
  { name, runs }: { readonly name: string; readonly runs: readonly Side[] },
): Finding {
  const { atItsHours, atItsGoodput, worseOnBoth } = against(csps, runs);
  const least =
    atItsHours === undefined
      ? "uses more GPU-hours at every setting"
      : `attains ${percent(atItsHours.attainment)} (csps ${percent(csps.attainment)}) within its GPU-hours (${atItsHours.policy})`;
  const most =
    atItsGoodput === undefined
      ? "attains less at every setting"
      : `needs ${percent(atItsGoodput.gpuHours / csps.gpuHours)} of its GPU-hours for its goodput (${atItsGoodput.policy})`;
  return {
    rule: worseOnBoth ? "held" : "NOT HELD",
    sentence: `${worseOnBoth ? "worse on both" : "NOT worse on both"}: ${name} ${least}, and ${most}`,
  };
}

/**
 * A rival's settings that come nearest to csps: what attains most for no more GPU-hours, or its thriftiest where each uses
 * more, and what uses least for as much goodput, or what attains most where none attains as much. One, where they are the same.
 */
export function nearest<Run extends Side>(csps: Run, runs: readonly Run[]): readonly Run[] {
  const { atItsHours, atItsGoodput } = against(csps, runs);
  const thriftiest = runs.toSorted((a, b) => a.gpuHours - b.gpuHours)[0];
  const best = runs.toSorted((a, b) => b.attainment - a.attainment || a.gpuHours - b.gpuHours)[0];
  const found = [atItsHours ?? thriftiest, atItsGoodput ?? best].filter((run) => run !== undefined);
  return [...new Set(found)];
}
