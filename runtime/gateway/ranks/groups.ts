/** From what ranks say of themselves to the groups that can be asked: pure, over states with their age. */
import type { Routable } from "../../routing/route.ts";
import type { RankEndpoint } from "../../wire/rankEndpoint.ts";
import type { RankState } from "../../wire/schema/membership.ts";

/** What a rank last said of itself. */
export interface Sighting {
  readonly state: RankState;
  /** Clock of the gateway, when the answer came. */
  readonly seenMs: number;
  /** A call to it has failed since it was seen: not to be asked until it is seen again. */
  readonly suspect: boolean;
}

/** A group or pool with a coordinator that serves; `servingSinceMs` by the gateway's clock. */
export interface ServingGroup extends Routable {
  readonly coordinator: RankEndpoint & { readonly rankId: string; readonly incarnation: string };
  readonly epoch: number;
}

/** A state older than this is no news: its rank may be gone. */
export const freshMs = 6_000;

/** Groups whose coordinator was seen serving lately, the newest epoch of each, by name. */
export function servingGroups(
  sightings: Iterable<Sighting>,
  nowMs: number,
  servingSince: (group: string, epoch: number) => number,
): ServingGroup[] {
  const groups = new Map<string, ServingGroup>();
  for (const { state, seenMs, suspect } of sightings) {
    if (suspect || nowMs - seenMs > freshMs || !coordinates(state)) continue;
    const known = groups.get(state.group);
    if (known !== undefined && known.epoch >= state.epoch) continue;
    const { rankId, incarnation, address, controlPort } = state.rank;
    groups.set(state.group, {
      group: state.group,
      role: state.role,
      coordinator: { rankId, incarnation, address, controlPort },
      epoch: state.epoch,
      members: state.epochMembers,
      kvFormat: state.kvFormat,
      pageTokens: state.pageTokens,
      pagesTotal: state.poolPagesTotal,
      pagesFree: state.poolPagesFree,
      running: state.running,
      waiting: state.waiting,
      promptTokens: (state.load?.waitingPromptTokens ?? 0) + (state.load?.runningPromptTokens ?? 0),
      servingSinceMs: servingSince(state.group, state.epoch),
    });
  }
  return [...groups.values()].sort((a, b) => (a.group < b.group ? -1 : 1));
}

/** Whether a rank speaks for its group now. */
export function coordinates(state: RankState): boolean {
  return state.phase === "serving" && state.coordinator?.rankId === state.rank.rankId;
}
