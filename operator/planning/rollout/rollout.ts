/**
 * Which gangs may be brought to a new revision now, a gang at a time:
 *
 *   at once    gangs that do not exist, whose revision stays, or that do not serve: nothing is lost by it
 *   in turn    one more, and only while every other gang serves and speaks of its present spec
 */
export interface RolloutGang {
  readonly name: string;
  /** Revision of its present spec; undefined while it does not exist. */
  readonly revision: string | undefined;
  readonly desiredRevision: string;
  /** It serves, and its status speaks of its present spec. */
  readonly available: boolean;
}

export interface RolloutPlan {
  /** Gangs whose spec is written now. */
  readonly write: readonly string[];
  /** Gangs that wait for their turn. */
  readonly held: readonly string[];
}

export function planRollout(gangs: readonly RolloutGang[]): RolloutPlan {
  const outdated = gangs.filter(
    (gang) => gang.revision !== undefined && gang.revision !== gang.desiredRevision,
  );
  const serving = outdated.filter((gang) => gang.available);
  const allServe = gangs.every((gang) => gang.available);
  const held = new Set((allServe ? serving.slice(1) : serving).map((gang) => gang.name));
  return {
    write: gangs.filter((gang) => !held.has(gang.name)).map((gang) => gang.name),
    held: [...held],
  };
}
