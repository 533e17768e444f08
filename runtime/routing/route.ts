/**
 * Which pool and which group serve a request: filter → score → pick, over groups that serve now. A scorer gives a
 * number in [0, 1], higher is better; the score of a pair is the weighted mean of its scorers. Pure: the gateway asks it
 * about the ranks that it sees, the simulator about those that it plays.
 */

/** What routing looks at of a group or pool whose coordinator serves. */
export interface Routable {
  readonly group: string;
  readonly role: "prefill" | "decode";
  /** Names of its ranks. */
  readonly members: readonly string[];
  readonly kvFormat: string;
  readonly pageTokens: number;
  readonly pagesTotal: number;
  readonly pagesFree: number;
  readonly running: number;
  readonly waiting: number;
  /** Of the prompts that wait or are computed there. */
  readonly promptTokens: number;
  /** Since when it was seen to serve in its present epoch. */
  readonly servingSinceMs: number;
}

export interface RouteQuestion {
  readonly promptTokens: number;
  /** Ranks that a group should have for it, by the operator's degree table. */
  readonly wantedDegree: number;
  readonly nowMs: number;
  /** What this gateway has there, as the group's last state may not show it yet. */
  readonly inFlight: (group: string) => InFlight;
  /** Share of the prompt's pages that a pool seems to hold already, 0 to 1; absent: unknown. */
  readonly heldShare?: (pool: Routable) => number;
}

export interface InFlight {
  readonly requests: number;
  /** Of prompts without a first token. */
  readonly promptTokens: number;
}

export interface Route<Group extends Routable = Routable> {
  readonly pool: Group;
  readonly group: Group;
}

interface Scorer {
  readonly name: string;
  readonly weight: number;
  score(candidate: Route, question: RouteQuestion): number;
}

/** So many prompt tokens before it, for each rank of the group, halve a group's score. */
const halvingTokens = 8_192;
/** In tokens, what a prompt costs beside its own. */
const promptCost = 256;
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
    // By tokens and not by prompts: one long prompt holds a group for as long as a hundred short ones.
    score: ({ group }, question) =>
      1 / (1 + tokensToPrefill(group, question) / (halvingTokens * group.members.length)),
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
export function rankRoutes<Group extends Routable>(
  groups: readonly Group[],
  question: RouteQuestion,
): Route<Group>[] {
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

function load(group: Routable, { inFlight }: RouteQuestion): number {
  return Math.max(group.running + group.waiting, inFlight(group.group).requests);
}

function tokensToPrefill(group: Routable, { inFlight }: RouteQuestion): number {
  const own = inFlight(group.group);
  const seen = group.promptTokens + promptCost * (group.running + group.waiting);
  return Math.max(seen, own.promptTokens + promptCost * own.requests);
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}
