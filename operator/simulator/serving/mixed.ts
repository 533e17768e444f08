/**
 * Replicas that prefill in chunks beside decoding, as Sarathi-Serve does: every step carries one token of each live
 * request and fills the rest of its budget with the next prompt. A request goes to the replica with the fewest tokens.
 */
import { decodeStep } from "../../planning/cost/decode.ts";
import type { CostProfile } from "../../planning/cost/profile.ts";
import type { EventQueue } from "../eventQueue.ts";
import { tokensOf } from "./decodeSide.ts";
import type { Job, Outcomes } from "./job.ts";
import { StepBatch, type StepLoad } from "./stepBatch.ts";

interface Replica {
  readonly batch: StepBatch;
  readonly queue: Job[];
  /** Tokens of all requests that it was given and has not finished. */
  outstanding: number;
  /** Tokens of KV of those that were admitted. */
  taken: number;
}

/** One step of a replica, a chunk of a prompt included. */
export function mixedStepSeconds(cost: CostProfile, chunkTokens: number, load: StepLoad): number {
  const { requests, contextTokens, prefilled } = load;
  const shape = { ranks: 1, tensorDegree: cost.tensorDegree, requests, contextTokens };
  const step = decodeStep(cost.model, cost.hardware, shape);
  if (prefilled === undefined) return step.seconds;
  const { law } = cost;
  const products = Math.max(
    step.seconds - cost.model.layers * step.scanSeconds,
    law.fixedSeconds + law.secondsPerToken * (requests + chunkTokens),
  );
  const attention = law.secondsPerTokenSquared * ((prefilled + chunkTokens) ** 2 - prefilled ** 2);
  return products + attention + cost.model.layers * step.scanSeconds;
}

export class MixedReplicas {
  readonly #replicas: readonly Replica[];
  readonly #events: EventQueue;
  readonly #outcomes: Outcomes;
  readonly #room: number;

  constructor(
    events: EventQueue,
    outcomes: Outcomes,
    options: {
      readonly cost: CostProfile;
      readonly replicas: number;
      readonly chunkTokens: number;
      readonly room: number;
    },
  ) {
    this.#events = events;
    this.#outcomes = outcomes;
    this.#room = options.room;
    const step = (load: StepLoad) => mixedStepSeconds(options.cost, options.chunkTokens, load);
    this.#replicas = Array.from({ length: options.replicas }, () => ({
      batch: new StepBatch(events, step, options.chunkTokens),
      queue: [],
      outstanding: 0,
      taken: 0,
    }));
  }

  add(job: Job): void {
    const replica = this.#replicas.reduce((a, b) => (b.outstanding < a.outstanding ? b : a));
    replica.outstanding += tokensOf(job);
    replica.queue.push(job);
    this.#next(replica);
  }

  #next(replica: Replica): void {
    const job = replica.queue[0];
    if (job === undefined || replica.batch.prefilling || replica.taken + tokensOf(job) > this.#room) return;
    replica.queue.shift();
    replica.taken += tokensOf(job);
    replica.batch.prefill(job.request.inputTokens, () => {
      this.#outcomes.firstSeconds[job.index] = this.#events.now;
      const further = job.request.outputTokens - 1;
      if (further === 0) this.#finish(replica, job);
      else
        replica.batch.join(further, job.request.inputTokens + 1, () => {
          this.#finish(replica, job);
        });
      this.#next(replica);
    });
  }

  #finish(replica: Replica, job: Job): void {
    this.#outcomes.lastSeconds[job.index] = this.#events.now;
    replica.outstanding -= tokensOf(job);
    replica.taken -= tokensOf(job);
    this.#next(replica);
  }
}
