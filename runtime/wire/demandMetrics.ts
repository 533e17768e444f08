/**
 * Names of the gateway's metrics that the autoscaler reads, so that who writes and who reads can't drift apart. Counters
 * begin at 0 with each process. A label `class` is a length class of the deployment, by its name.
 */
export const demandMetrics = {
  /** Histogram {class}: tokens of each prompt, observed when it arrives. */
  promptTokens: "csps_gateway_prompt_tokens",
  /** Counter {class}: sum of the squares of those; with the sum, the second moment of lengths. */
  promptTokensSquared: "csps_gateway_prompt_tokens_squared_total",
  /** Gauge {class, stage}: prompts here now, by stage. */
  prompts: "csps_gateway_prompts",
  /** Histogram: tokens of each answer, observed when it ends, however it ends. */
  outputTokens: "csps_gateway_output_tokens",
  /** Histogram: time between two tokens of an answer. */
  interTokenLatency: "csps_gateway_inter_token_latency_seconds",
  /** Gauge: requests that are kept until there are ranks. */
  waitingForRanks: "csps_gateway_requests_waiting_for_ranks",
  /** Histogram: from the first request that found no ranks to the first ranks. */
  coldStart: "csps_gateway_cold_start_seconds",
} as const;

/** Of a prompt: before its prefill begins, until its first token, until its last. */
export const promptStages = ["waiting", "prefilling", "decoding"] as const;
export type PromptStage = (typeof promptStages)[number];
