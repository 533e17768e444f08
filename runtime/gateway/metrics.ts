/** Every metric of the gateway. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";
import { demandMetrics } from "../wire/demandMetrics.ts";
import { countDemand } from "./demand/demandMetrics.ts";
import { type LengthClass, oneClass } from "./demand/lengthClass.ts";

const secondsFromMillis = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320];

export function createMetrics(classes: readonly LengthClass[] = oneClass) {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    demand: countDemand(registry, classes),
    requests: new Counter({
      name: "csps_gateway_requests_total",
      help: "Requests answered, by route and HTTP status; 499 when the client left first",
      labelNames: ["route", "status"] as const,
      registers,
    }),
    running: new Gauge({
      name: "csps_gateway_num_requests_running",
      help: "Requests being answered",
      registers,
    }),
    timeToFirstToken: new Histogram({
      name: "csps_gateway_time_to_first_token_seconds",
      help: "From receipt of a request to the first token of its first choice",
      buckets: secondsFromMillis,
      registers,
    }),
    interTokenLatency: new Histogram({
      name: demandMetrics.interTokenLatency,
      help: "Between two tokens of a choice",
      buckets: secondsFromMillis,
      registers,
    }),
    requestDuration: new Histogram({
      name: "csps_gateway_e2e_request_latency_seconds",
      help: "From receipt of a request to the end of its answer",
      buckets: secondsFromMillis,
      registers,
    }),
    promptTokens: new Counter({
      name: "csps_gateway_prompt_tokens_total",
      help: "Tokens of prompts",
      registers,
    }),
    generatedTokens: new Counter({
      name: "csps_gateway_generation_tokens_total",
      help: "Tokens generated",
      registers,
    }),
    recoveries: new Counter({
      name: "csps_gateway_recoveries_total",
      help: "Generations that went on elsewhere after a failure, by its code",
      labelNames: ["cause"] as const,
      registers,
    }),
    recoveryPause: new Histogram({
      name: "csps_gateway_recovery_pause_seconds",
      help: "From the loss of a generation's ranks, once noticed, to its next token",
      buckets: secondsFromMillis,
      registers,
    }),
    recoveryTokens: new Counter({
      name: "csps_gateway_recovery_tokens_total",
      help: "Tokens of prompts and answers that were prefilled again",
      registers,
    }),
    stateCalls: new Counter({
      name: "csps_gateway_state_calls_total",
      help: "Calls to Redis by verb and outcome",
      labelNames: ["verb", "outcome"] as const,
      registers,
    }),
    readyGroups: new Gauge({
      name: "csps_gateway_ready_groups",
      help: "Groups and pools that serve, by role",
      labelNames: ["role"] as const,
      registers,
    }),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
