/**
 * An autoscaler against a rival that has a knob. A rival's setting may always be chosen that uses less, down to the least
 * size, or attains more, up to the greatest: neither says that it is the better one. So the rival is tried at every
 * setting, and is worse on both if it attains less wherever it uses no more, and uses more wherever it attains as much.
 */
export interface Played {
  readonly attainment: number;
  readonly gpuHours: number;
}

export interface Verdict<Run extends Played> {
  /** What attains most of what uses no more; undefined where every setting uses more. */
  readonly atItsHours: Run | undefined;
  /** What uses least of what attains as much; undefined where no setting does. */
  readonly atItsGoodput: Run | undefined;
  readonly worseOnBoth: boolean;
}

export function against<Run extends Played>(one: Played, rival: readonly Run[]): Verdict<Run> {
  const atItsHours = rival
    .filter(({ gpuHours }) => gpuHours <= one.gpuHours)
    .reduce<Run | undefined>(
      (best, run) => (best && best.attainment >= run.attainment ? best : run),
      undefined,
    );
  const atItsGoodput = rival
    .filter(({ attainment }) => attainment >= one.attainment)
    .reduce<Run | undefined>((best, run) => (best && best.gpuHours <= run.gpuHours ? best : run), undefined);
  const attainsLess = atItsHours === undefined || atItsHours.attainment < one.attainment;
  const usesMore = atItsGoodput === undefined || atItsGoodput.gpuHours > one.gpuHours;
  return { atItsHours, atItsGoodput, worseOnBoth: attainsLess && usesMore };
}

/**
 * Plays a rival at its settings, and `between` times more between two neighbours of which one uses more and one less than
 * `one`, or one attains more and one less: there lie the settings that come nearest.
 */
export function playedAround<Run extends Played>(
  one: Played,
  settings: readonly number[],
  play: (setting: number) => Run,
  between = 3,
): readonly Run[] {
  const coarse = settings.map((setting) => ({ setting, run: play(setting) }));
  const finer = coarse.slice(1).flatMap((next, index) => {
    const last = coarse[index];
    if (last === undefined || !parts(one, last.run, next.run)) return [];
    const step = (next.setting - last.setting) / (between + 1);
    return Array.from({ length: between }, (_, nth) => play(last.setting + (nth + 1) * step));
  });
  return [...coarse.map(({ run }) => run), ...finer];
}

function parts(one: Played, a: Played, b: Played): boolean {
  const apart = (value: number, x: number, y: number) => x >= value !== y >= value;
  return apart(one.gpuHours, a.gpuHours, b.gpuHours) || apart(one.attainment, a.attainment, b.attainment);
}
