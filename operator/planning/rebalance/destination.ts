/** Whether a rank takes pages now, and how many: ordered rules, each with the words for its refusal. */
import type { RankLoad } from "./load.ts";
import type { RebalancePolicy } from "./pool.ts";

export interface DestinationRoom {
  readonly pages: number;
  /** Why it takes none. */
  readonly refusal?: string;
}

type Rule = (load: RankLoad, policy: RebalancePolicy) => string | undefined;

const standing: readonly Rule[] = [
  ({ rank }) => (rank.admits ? undefined : "admits nothing: it drains or its node is cordoned"),
  ({ rank }, policy) =>
    rank.reportAgeMs > policy.staleMs ? `reported ${seconds(rank.reportAgeMs)} ago` : undefined,
  ({ rank }, policy) =>
    rank.refusedAgeMs !== undefined && rank.refusedAgeMs < policy.refusalMs
      ? `refused a move ${seconds(rank.refusedAgeMs)} ago`
      : undefined,
];

/** For balancing: a new, empty rank must not be flooded, so that it is given pages in proportion to its age. */
export function balanceRoom(load: RankLoad, policy: RebalancePolicy): DestinationRoom {
  const room = drainRoom(load, policy);
  const { ageMs, capacityPages } = load.rank;
  if (room.refusal !== undefined || ageMs >= policy.slowStartMs) return room;
  const until = `until it is ${seconds(policy.slowStartMs)} old`;
  if (load.incoming > 0) return { pages: 0, refusal: `takes one move at a time ${until}` };
  const allowance = Math.floor((capacityPages * ageMs) / policy.slowStartMs);
  const pages = Math.min(room.pages, allowance - load.heldPages);
  const holds = `starts slowly: ${String(allowance)} of ${String(capacityPages)} pages at ${seconds(ageMs)}`;
  return pages > 0 ? { pages } : { pages: 0, refusal: holds };
}

/** For a drain, which must end: a new rank takes what it has room for. */
export function drainRoom(load: RankLoad, policy: RebalancePolicy): DestinationRoom {
  for (const rule of standing) {
    const refusal = rule(load, policy);
    if (refusal !== undefined) return { pages: 0, refusal };
  }
  return load.roomPages > 0 ? { pages: load.roomPages } : { pages: 0, refusal: "has no free page to give" };
}

function seconds(ms: number): string {
  return `${String(Math.round(ms / 100) / 10)} s`;
}
