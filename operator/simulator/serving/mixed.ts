/**
 * Replicas that prefill in chunks beside decoding, as Sarathi-Serve and vLLM do: every step carries one token of each live
 * request and fills the rest of its budget of tokens with the prompts that wait, in order, the last of them in part. A
 * request goes to the replica with the fewest tokens.
 */
import { decodeStep } from "../../planning/cost/decode.ts";
import type { CostProfile } from "../../planning/cost/profile.ts";
import type { EventQueue } from "../eventQueue.ts";
import { tokensOf } from "./decodeSide.ts";
import type { Job, Outcomes } from "./job.ts";
import { StepBatch, type StepLoad } from "./stepBatch.ts";

export interface MixedOptions {
  readonly cost: CostProfile;
  readonly replicas: number;
  /** Tokens of one step, of decoding requests and of prompts. */
  readonly stepTokens: number;
  /** Tokens of KV of one replica. */
  readonly room: number;
  /** Requests that may be under way on one replica. */
  readonly most?: number;
}

interface Waiting {
  readonly job: Job;
  prefilled: number;
}

interface Replica {
  readonly batch: StepBatch;
  readonly queue: Waiting[];
  /** Tokens of all requests that it was given and has not finished. */
  outstanding: number;
  /** Tokens of KV of those that were admitted, and how many they are. */
  taken: number;
  admitted: number;
}

/** One step of a replica, chunks of prompts included. */
export function mixedStepSeconds(cost: CostProfile, load: StepLoad): number {
  const { requests, contextTokens, chunk } = load;
  const shape = { ranks: 1, tensorDegree: cost.tensorDegree, requests, contextTokens };
  const step = decodeStep(cost.model, cost.hardware, shape);
  if (chunk === undefined) return step.seconds;
  const { law } = cost;
  const scan = cost.model.layers * step.scanSeconds;
  const products = Math.max(
    step.seconds - scan,
    law.fixedSeconds + law.secondsPerToken * (requests + chunk.tokens),
  );
  return products + law.secondsPerTokenSquared * chunk.squaredTokens + scan;
}

export class MixedReplicas {
  readonly #replicas: readonly Replica[];
  readonly #events: EventQueue;
  readonly #outcomes: Outcomes;
  readonly #options: MixedOptions;

  constructor(events: EventQueue, outcomes: Outcomes, options: MixedOptions) {
    this.#events = events;
    this.#outcomes = outcomes;
    this.#options = options;
    const step = (load: StepLoad) => mixedStepSeconds(options.cost, load);
    this.#replicas = Array.from({ length: options.replicas }, () => ({
      batch: new StepBatch(events, step),
      queue: [],
      outstanding: 0,
      taken: 0,
      admitted: 0,
    }));
  }

  add(job: Job): void {
    const replica = this.#replicas.reduce((a, b) => (b.outstanding < a.outstanding ? b : a));
    replica.outstanding += tokensOf(job);
    replica.queue.push({ job, prefilled: 0 });
    this.#next(replica);
  }

  /** Fills the next step with what waits and may start. */
  #next(replica: Replica): void {
    const { batch, queue } = replica;
    if (batch.mixing || queue.length === 0) return;
    let left = this.#options.stepTokens - batch.requests;
    const chunk = { tokens: 0, squaredTokens: 0 };
    let done = 0;
    for (const one of queue) {
      if (left <= 0 || (one.prefilled === 0 && !this.#admit(replica, one.job))) break;
      const tokens = Math.min(left, one.job.request.inputTokens - one.prefilled);
      chunk.tokens += tokens;
      chunk.squaredTokens += (one.prefilled + tokens) ** 2 - one.prefilled ** 2;
      one.prefilled += tokens;
      left -= tokens;
      if (one.prefilled === one.job.request.inputTokens) done += 1;
    }
    if (chunk.tokens === 0) return;
    const prefilled = queue.splice(0, done);
    batch.mix(chunk, () => {
      for (const { job } of prefilled) this.#decode(replica, job);
      this.#next(replica);
    });
  }

  #admit(replica: Replica, job: Job): boolean {
    const { room, most = Infinity } = this.#options;
    if (replica.taken + tokensOf(job) > room || replica.admitted >= most) return false;
    replica.taken += tokensOf(job);
    replica.admitted += 1;
    return true;
  }

  #decode(replica: Replica, job: Job): void {
    this.#outcomes.begin(job, this.#events.now);
    const finish = (): void => {
      this.#finish(replica, job);
    };
    const further = job.request.outputTokens - 1;
    if (further === 0) finish();
    else replica.batch.join(further, job.request.inputTokens + 1, finish);
  }

  #finish(replica: Replica, job: Job): void {
    this.#outcomes.lastSeconds[job.index] = this.#events.now;
    replica.outstanding -= tokensOf(job);
    replica.taken -= tokensOf(job);
    replica.admitted -= 1;
    this.#next(replica);
  }
}
