/** Batches that decode, each with room for so many tokens of KV. Room for the whole answer is taken before prefill. */
import type { EventQueue } from "../eventQueue.ts";
import type { Job, Outcomes } from "./job.ts";
import { StepBatch, type StepLoad } from "./stepBatch.ts";

interface Place {
  readonly batch: StepBatch;
  readonly room: () => number;
  taken: number;
}

export class DecodeSide {
  readonly #places: readonly Place[];
  readonly #events: EventQueue;
  readonly #outcomes: Outcomes;
  readonly #held = new Map<number, Place>();
  readonly #freed: (job: Job) => void;
  #startedTokens = 0;

  /** @param freed called when a request has left and its room is free. */
  constructor(
    events: EventQueue,
    outcomes: Outcomes,
    places: readonly { readonly room: () => number; readonly stepSeconds: (load: StepLoad) => number }[],
    freed: (job: Job) => void,
  ) {
    this.#events = events;
    this.#outcomes = outcomes;
    this.#freed = freed;
    this.#places = places.map(({ room, stepSeconds }) => ({
      room,
      taken: 0,
      batch: new StepBatch(events, stepSeconds),
    }));
  }

  get requests(): number {
    return this.#places.reduce((sum, one) => sum + one.batch.requests, 0);
  }

  get contextTokens(): number {
    return this.#places.reduce((sum, one) => sum + one.batch.contextTokens, 0);
  }

  /** The least filled place that has room takes the request. */
  reserve(job: Job): boolean {
    const needed = tokensOf(job);
    let best: Place | undefined;
    for (const place of this.#places) {
      if (place.taken + needed <= place.room() && (best === undefined || place.taken < best.taken))
        best = place;
    }
    if (best === undefined) return false;
    best.taken += needed;
    this.#held.set(job.index, best);
    return true;
  }

  /** The first token is there: decode the others where room was taken. */
  start(job: Job): void {
    const place = this.#held.get(job.index);
    if (place === undefined) throw new Error(`request ${job.index} decodes without room`);
    this.#outcomes.begin(job, this.#events.now);
    this.#startedTokens += tokensOf(job);
    const finish = (): void => {
      this.#outcomes.lastSeconds[job.index] = this.#events.now;
      place.taken -= tokensOf(job);
      this.#startedTokens -= tokensOf(job);
      this.#held.delete(job.index);
      this.#freed(job);
    };
    const further = job.request.outputTokens - 1;
    if (further === 0) finish();
    else place.batch.join(further, job.request.inputTokens + 1, finish);
  }

  /** Tokens that are reserved, by requests that decode and those that will. */
  get taken(): number {
    return this.#places.reduce((sum, one) => sum + one.taken, 0);
  }

  /** Tokens that are reserved by requests that decode. */
  get startedTokens(): number {
    return this.#startedTokens;
  }

  /** To be called when what a step takes has changed. */
  repace(): void {
    for (const { batch } of this.#places) batch.repace();
  }
}

export function tokensOf({ request }: Job): number {
  return request.inputTokens + request.outputTokens;
}
