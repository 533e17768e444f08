/**
 * In which order the prompts of prefill groups take their turn, by the engine's own rule (scheduler/turn.py):
 *
 *   turn = arrival + patience T(L, best degree)
 *
 * An overload makes nearly every prompt late when the late ones keep their turn. So these let the others pass for a while.
 */

/** A prompt passes those that came at most so many times its own time before it. */
const patience = 2;
/** A late prompt is passed until it has waited for so many objectives. */
const passedForObjectives = 4;

export function turnSeconds(arrivalSeconds: number, fastestSeconds: number): number {
  return arrivalSeconds + patience * fastestSeconds;
}

/** Who goes before whom, whatever their turns: nobody passes those that have waited for long. */
export type Standing = "waitedLong" | "inTime" | "late";

/** @param fastestSeconds what the prompt takes at the best degree of its group. */
export function standingOf(
  waitedSeconds: number,
  fastestSeconds: number,
  objectiveSeconds: number,
): Standing {
  if (waitedSeconds >= passedForObjectives * objectiveSeconds) return "waitedLong";
  return waitedSeconds + fastestSeconds <= objectiveSeconds ? "inTime" : "late";
}
