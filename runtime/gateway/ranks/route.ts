/**
 * Which pool and which group serve a request: filter → score → pick, over groups that serve now. A scorer gives a
 * number in [0, 1], higher is better; the score of a pair is the weighted mean of its scorers.
 */
import type { ServingGroup } from "./groups.ts";

export interface RouteQuestion {
  readonly promptTokens: number;
  /** Ranks that a group should have for it, by the operator's degree table. */
  readonly wantedDegree: number;
  readonly nowMs: number;
  /** Requests of this gateway in the group that its last state does not show yet. */
  readonly inFlight: (group: string) => number;
  /** Share of the prompt's pages that a pool seems to hold already, 0 to 1; absent: unknown. */
  readonly heldShare?: (pool: ServingGroup) => number;
}

export interface Route {
  readonly pool: ServingGroup;
  readonly group: ServingGroup;
}

interface Scorer {
  readonly name: string;
  readonly weight: number;
  score(candidate: Route, question: RouteQuestion): number;
}

/** A group has its full score once it has served this long: after a new epoch its caches and peers are cold. */
const settledMs = 10_000;

const scorers: readonly Scorer[] = [
  {
    name: "kvHeadroom",
    weight: 2,
    score: ({ pool }, { promptTokens }) => {
      const left = pool.pagesFree - pagesFor(promptTokens, pool.pageTokens);
      return pool.pagesTotal === 0 ? 0 : clamp(left / pool.pagesTotal);
    },
  },
  {
    name: "prefixHit",
    weight: 2,
    // What a pool holds is neither computed nor pushed again.
    score: ({ pool }, { heldShare }) => clamp(heldShare?.(pool) ?? 0),
  },
  {
    name: "prefillQueue",
    weight: 2,
    score: ({ group }, question) => 1 / (1 + load(group, question)),
  },
  {
    name: "degree",
    weight: 1,
    // A group that lost ranks still serves short prompts as well as any.
    score: ({ group }, { wantedDegree }) => clamp(group.members.length / wantedDegree),
  },
  {
    name: "decodeQueue",
    weight: 1,
    // A pool decodes its requests together, so one more costs less than in a prefill group.
    score: ({ pool }, question) => 1 / (1 + load(pool, question) / 4),
  },
  {
    name: "readinessAge",
    weight: 0.5,
    score: ({ group, pool }, { nowMs }) =>
      clamp((nowMs - Math.max(group.servingSinceMs, pool.servingSinceMs)) / settledMs),
  },
];

/**
 * Pairs that can serve the request, best first. KV made by a group fits a pool of the same format only. A pool
 * without room is kept, last by its score: its pages may be free by the time that it is asked.
 */
export function rankRoutes(groups: readonly ServingGroup[], question: RouteQuestion): Route[] {
  const pools = groups.filter(({ role }) => role === "decode");
  const prefills = groups.filter(({ role }) => role === "prefill");
  const pairs = pools.flatMap((pool) =>
    prefills.filter((group) => group.kvFormat === pool.kvFormat).map((group) => ({ pool, group })),
  );
  return pairs
    .map((route) => ({ route, score: scoreOf(route, question) }))
    .sort((a, b) => b.score - a.score)
    .map(({ route }) => route);
}

export function scoreOf(route: Route, question: RouteQuestion): number {
  const total = scorers.reduce((sum, scorer) => sum + scorer.weight * scorer.score(route, question), 0);
  return total / scorers.reduce((sum, { weight }) => sum + weight, 0);
}

export function pagesFor(tokens: number, pageTokens: number): number {
  return Math.ceil(tokens / pageTokens);
}

function load(group: ServingGroup, { inFlight }: RouteQuestion): number {
  return Math.max(group.running + group.waiting, inFlight(group.group));
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}
