/** Pushes a planned roster to the ranks that need it, and remembers it. */
import type { RankRef } from "../../runtime/wire/schema/identity.ts";
import type { EngineReport, GangObservation } from "../planning/gang/observed.ts";
import type { RosterPlan } from "../planning/gang/roster.ts";
import type { GangContext } from "./context.ts";
import { rankRef, tellRoster } from "./engines.ts";
import type { GangView } from "./gangView.ts";

export interface RosterOutcome {
  readonly reports: readonly EngineReport[];
  readonly failures: readonly string[];
}

export async function pushRoster(
  context: GangContext,
  { design, record }: GangView,
  step: { readonly observed: GangObservation; readonly roster: RosterPlan; readonly signal: AbortSignal },
): Promise<RosterOutcome> {
  const { observed, roster, signal } = step;
  const refs = new Map<string, RankRef>(observed.pods.map((pod) => [pod.rankId, rankRef(pod)]));
  const members = roster.members.flatMap((member) => refs.get(member.rankId) ?? []);
  const targets = members.filter((member) => roster.push.includes(member.rankId));
  // Remembered before it is sent: a generation that any rank may have seen is never used again for other members.
  record.memory = {
    ...record.memory,
    rosterGeneration: roster.generation,
    rosterMembers: roster.members,
  };
  const body = {
    group: design.name,
    role: design.role,
    fence: context.fence(),
    generation: roster.generation,
    minSize: design.minRanks,
    members,
  };
  const client = await context.rankClients.of(design.namespace, design.controlTokenSecret);
  const delivery = await tellRoster(client, targets, body, signal);
  return { reports: delivery.reports, failures: delivery.failures };
}
