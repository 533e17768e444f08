/**
 * The cheapest schedule that can be found by one who knows every arrival: from the largest size, whole spans of the
 * schedule are lowered by one as long as, played, it still keeps the wanted attainment; spans from the whole hour down to
 * one stretch, again until nothing can be lowered. A local optimum of a search that plays the true trace, not a bound.
 */
import type { Size } from "../../planning/scaling/decision.ts";
import type { Schedule } from "./fixed.ts";

export interface Played {
  readonly attainment: number;
  readonly gpuHours: number;
}

export interface Search {
  readonly start: Size;
  readonly least: Size;
  readonly seconds: number;
  readonly stretchSeconds: number;
  readonly wantedAttainment: number;
  /** May give up, with less than that, where the attainment can't reach `leastAttainment`. */
  readonly play: (schedule: Schedule, leastAttainment: number) => Played;
}

const roles = ["groups", "decodeRanks"] as const;

export function cheapestSchedule(search: Search): Schedule {
  const stretches = Math.max(1, Math.ceil(search.seconds / search.stretchSeconds));
  let schedule: Schedule = {
    stretchSeconds: search.stretchSeconds,
    sizes: Array.from({ length: stretches }, () => search.start),
  };
  let best = search.play(schedule, 0);
  const wanted = Math.min(search.wantedAttainment, best.attainment);
  for (let span = stretches; span >= 1; span = Math.floor(span / 2)) {
    for (let from = 0; from < stretches; from += span) {
      for (const role of roles) {
        for (;;) {
          const lower = lowered(schedule, { role, from, to: from + span }, search.least);
          if (lower === undefined) break;
          const played = search.play(lower, wanted);
          if (played.attainment < wanted || played.gpuHours >= best.gpuHours) break;
          schedule = lower;
          best = played;
        }
      }
    }
  }
  return schedule;
}

function lowered(
  schedule: Schedule,
  at: { readonly role: (typeof roles)[number]; readonly from: number; readonly to: number },
  least: Size,
): Schedule | undefined {
  const { role, from, to } = at;
  const lowers = (size: Size, index: number) => index >= from && index < to && size[role] > least[role];
  if (!schedule.sizes.some(lowers)) return undefined;
  const sizes = schedule.sizes.map((size, index) =>
    lowers(size, index) ? { ...size, [role]: size[role] - 1 } : size,
  );
  return { ...schedule, sizes };
}
