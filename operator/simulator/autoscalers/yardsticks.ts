/** What autoscalers are measured by, found with the trace known: the cheapest schedule and the cheapest constant size. */
import type { Size } from "../../planning/scaling/decision.ts";
import type { Prepared } from "../scalingScenario.ts";
import type { ScaledReport } from "../simulateScaled.ts";
import type { Autoscaler } from "./autoscaler.ts";
import { cheapestSchedule } from "./clairvoyant.ts";
import { fixedSize, type Schedule, scheduled } from "./fixed.ts";

export type Play = (autoscaler: Autoscaler, start?: Size, leastAttainment?: number) => ScaledReport;

const wantedAttainment = 0.99;
const stretchSeconds = 300;

export function clairvoyant(
  { trace, least: leastSize, startupSeconds }: Prepared,
  peak: Size,
  play: Play,
): ScaledReport {
  const named = "clairvoyant schedule";
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

/** The cheapest size that, kept all the time, attains so much. */
export function constantInHindsight(
  { trace, least: leastSize }: Prepared,
  { peak, attainment }: { readonly peak: Size; readonly attainment: number },
  play: Play,
): ScaledReport {
  const named = "constant, the cheapest in hindsight";
  const sizeOf = ({ sizes }: Schedule) => sizes[0] ?? peak;
  const schedule = cheapestSchedule({
    start: { ...peak, groups: 2 * peak.groups, decodeRanks: 2 * peak.decodeRanks },
    least: leastSize,
    seconds: 0,
    stretchSeconds: trace.requests.at(-1)?.arrivalSeconds ?? 0,
    wantedAttainment: attainment,
    play: (tried, least) => play(fixedSize(named, sizeOf(tried)), sizeOf(tried), least),
  });
  return play(fixedSize(named, sizeOf(schedule)), sizeOf(schedule));
}

/** The most of each role that a run had. @throws where it has no size. */
export function largest({ sizes }: ScaledReport): Size {
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
