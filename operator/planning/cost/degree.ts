/** The degree of one prompt: the fewest ranks that are in time; when none is, the fastest that still put ranks to use. */
import { minimumDegree } from "./memory.ts";
import { efficiency, prefillSeconds, type CostProfile } from "./profile.ts";

export interface DegreeChoice {
  readonly degree: number;
  readonly seconds: number;
  /** Whether the prompt is predicted to be in time. */
  readonly inTime: boolean;
}

/** Below this share of a rank's time put to use, more ranks are a waste that others wait for. */
const leastEfficiency = 0.5;

/**
 * @param groupSize ranks of the group; degrees share it evenly.
 * @param slackSeconds time left until the prompt is late.
 * @returns undefined when the prompt does not fit the group's memory.
 */
export function chooseDegree(
  profile: CostProfile,
  tokens: number,
  groupSize: number,
  slackSeconds: number,
): DegreeChoice | undefined {
  const least = minimumDegree(profile, tokens) ?? Infinity;
  let fastest: DegreeChoice | undefined;
  for (let degree = 1; degree <= groupSize; degree++) {
    if (groupSize % degree !== 0 || degree < least) continue;
    const seconds = prefillSeconds(profile, tokens, degree);
    if (seconds <= slackSeconds) return { degree, seconds, inTime: true };
    const worthwhile = fastest === undefined || efficiency(profile, tokens, degree) >= leastEfficiency;
    if (worthwhile && seconds < (fastest?.seconds ?? Infinity)) fastest = { degree, seconds, inTime: false };
  }
  return fastest;
}

export interface Ranks {
  readonly size: number;
  readonly free: number;
  /** Nobody else waits for these ranks. */
  readonly uncontended: boolean;
}

/**
 * The degree to start a prompt with on a group now:
 *
 *   uncontended   the fastest worthwhile degree of the free ranks: idle ranks serve nobody
 *   in time       the fewest ranks that are, and it waits until so many are free
 *   late          the fastest worthwhile degree of the free ranks, as waiting for more would idle them
 *
 * @returns undefined while the prompt should wait.
 */
export function degreeNow(
  profile: CostProfile,
  tokens: number,
  ranks: Ranks,
  slackSeconds: number,
): number | undefined {
  const rushed = (): number | undefined => {
    if (ranks.free < 1) return undefined;
    const among = chooseDegree(profile, tokens, largestShare(ranks), 0);
    return among?.degree;
  };
  const needed = chooseDegree(profile, tokens, ranks.size, slackSeconds);
  if (needed === undefined) return undefined;
  if (needed.inTime && needed.degree > ranks.free) return undefined;
  return needed.inTime && !ranks.uncontended ? needed.degree : rushed();
}

/** Most of the free ranks that share the group evenly. */
function largestShare({ size, free }: Ranks): number {
  let degree = Math.min(size, free);
  while (size % degree !== 0) degree -= 1;
  return degree;
}

export interface Pressure {
  /** Ranks that are idle now. */
  readonly free: number;
  /** Ranks that could be idle at once. */
  readonly most: number;
  /** Others wait too. */
  readonly contended: boolean;
}

/** With others waiting, a degree may cost so much more rank time than the cheapest one. */
const contendedWaste = 1.15;

/**
 * The fastest degree that is worth its ranks. A prompt that is alone takes whatever makes it faster, as idle ranks serve
 * nobody. With others waiting rank time counts: of the degrees whose g T(g) is near the least the fastest is taken, as
 * prompts one after the other on all ranks are sooner done on average than side by side. Sparse attention costs least at
 * a high degree, so a long prompt may have to wait for it.
 *
 * @returns undefined while too few ranks are free.
 */
export function degreeUnderPressure(
  profile: CostProfile,
  tokens: number,
  { free, most, contended }: Pressure,
): number | undefined {
  const least = minimumDegree(profile, tokens) ?? Infinity;
  const options: DegreeChoice[] = [];
  for (let degree = 1; degree <= most; degree *= 2) {
    if (degree >= least)
      options.push({ degree, seconds: prefillSeconds(profile, tokens, degree), inTime: false });
  }
  const cost = ({ degree, seconds }: DegreeChoice) => degree * seconds;
  const limit = contended
    ? contendedWaste * Math.min(...options.map(cost))
    : prefillSeconds(profile, tokens, 1) / leastEfficiency;
  const fitting = options.filter(
    (one, index) => one.degree <= free && (cost(one) <= limit || (index === 0 && !contended)),
  );
  return fitting.reduce<DegreeChoice | undefined>(
    (best, one) => (best === undefined || one.seconds < best.seconds ? one : best),
    undefined,
  )?.degree;
}
