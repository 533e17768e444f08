/**
 * A rank's gauges of what it holds and what waits, all made of one RankState at each scrape. The engine's constants are
 * generated from here, so that who writes and who reads can't drift apart. What else `/metrics` has, the engine declares
 * for itself. On ranks that have nothing to say (a pool on a rank that coordinates none, pages of a prefill rank) a gauge
 * is 0 and never absent: absence is for metrics that can't be read.
 */
export interface EngineMetric {
  readonly name: string;
  readonly about: string;
  readonly labels?: readonly string[];
}

export const engineMetrics = {
  rankInfo: {
    name: "csps_rank_info",
    about: "Which rank this is: 1, with the pod's UID as incarnation",
    labels: ["rank_id", "incarnation", "role", "group", "deployment"],
  },
  coordinates: {
    name: "csps_rank_coordinates",
    about: "1 on the rank that coordinates its group's present or last epoch, else 0",
  },
  pages: { name: "csps_kv_pages", about: "KV pages of this rank" },
  pagesFree: { name: "csps_kv_pages_free", about: "KV pages of this rank that nobody holds" },
  pagesHeld: {
    name: "csps_kv_pages_held",
    about: "KV pages of this rank that requests hold: what a drain still has to move",
  },
  pageTokens: { name: "csps_kv_page_tokens", about: "Tokens of a KV page" },
  poolPages: {
    name: "csps_pool_kv_pages",
    about: "On a pool's coordinator: KV pages of all its ranks, else 0",
  },
  poolPagesFree: {
    name: "csps_pool_kv_pages_free",
    about: "On a pool's coordinator: KV pages of all its ranks that nobody holds, else 0",
  },
  waitingPromptTokens: {
    name: "csps_prompt_tokens_waiting",
    about: "Prompt tokens of the requests that wait in the group",
  },
  runningPromptTokens: {
    name: "csps_prompt_tokens_running",
    about: "Prompt tokens of the requests that the group prefills now",
  },
  oldestWait: {
    name: "csps_oldest_wait_seconds",
    about: "How long the oldest of the waiting requests has waited, 0 when none waits",
  },
} as const satisfies Readonly<Record<string, EngineMetric>>;
