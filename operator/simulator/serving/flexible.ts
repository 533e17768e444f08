/**
 * The csps policy: one set of ranks, split anew every second between prefill and decode by `planSplit`. Prompts wait in
 * the order of `dueSeconds` and start at the degree of `degreeUnderPressure`, several side by side on disjoint ranks. A
 * rank that is taken from decode prefills once its KV has moved; one that is given to decode finishes its prompt first.
 */
import { decodeStep } from "../../planning/cost/decode.ts";
import { degreeUnderPressure } from "../../planning/cost/degree.ts";
import { kvTokensOfRank } from "../../planning/cost/memory.ts";
import { prefillSeconds, type CostProfile } from "../../planning/cost/profile.ts";
import { dueSeconds } from "../../planning/roles/order.ts";
import { moveSeconds, planSplit } from "../../planning/roles/split.ts";
import type { EventQueue } from "../eventQueue.ts";
import { DecodeSide, tokensOf } from "./decodeSide.ts";
import type { Job, Outcomes } from "./job.ts";
import { PrefillPool } from "./prefillPool.ts";

export interface FlexibleShape {
  readonly cost: CostProfile;
  readonly ranks: number;
  readonly tbtSeconds: number;
}

const everySeconds = 1;
/** Weight of the last second in the mean of busy ranks. */
const smoothing = 0.2;
const kvShare = 0.95;
/** Prompts of the queue that a split looks at. */
const lookahead = 32;

export class FlexibleRanks {
  readonly #shape: FlexibleShape;
  readonly #events: EventQueue;
  readonly #decode: DecodeSide;
  readonly #pool: PrefillPool;
  #decodeRanks = 1;
  #busyRanks = 0;
  #busyRankSeconds = 0;
  #outstanding = 0;
  #ticking = false;

  constructor(shape: FlexibleShape, events: EventQueue, outcomes: Outcomes) {
    const { cost, ranks } = shape;
    this.#shape = shape;
    this.#events = events;
    const place = {
      room: () => kvTokensOfRank(cost) * kvShare * ranks,
      stepSeconds: ({ requests, contextTokens }: { requests: number; contextTokens: number }) =>
        decodeStep(cost.model, cost.hardware, {
          ranks: this.#decodeRanks,
          tensorDegree: cost.tensorDegree,
          requests,
          contextTokens,
        }).seconds,
    };
    this.#decode = new DecodeSide(events, outcomes, [place], () => {
      this.#outstanding -= 1;
      this.#pool.dispatch();
    });
    this.#pool = new PrefillPool(events, [ranks], {
      degreeOf: (job, { free }, _waited, waiting) =>
        degreeUnderPressure(cost, job.request.inputTokens, {
          free,
          most: ranks - this.#decodeRanks,
          contended: waiting > 1,
        }),
      secondsOf: (job, degree) => prefillSeconds(cost, job.request.inputTokens, degree),
      admit: (job) => this.#decode.reserve(job),
      done: (job) => {
        this.#decode.start(job);
      },
      dueSeconds: ({ request }) => dueSeconds(cost, request.arrivalSeconds, request.inputTokens),
    });
    this.#take(1);
  }

  add(job: Job): void {
    this.#outstanding += 1;
    this.#pool.add(job);
    if (this.#ticking) return;
    this.#ticking = true;
    this.#tick();
  }

  #tick(): void {
    this.#events.at(this.#events.now + everySeconds, () => {
      this.#split();
      if (this.#outstanding > 0) this.#tick();
      else this.#ticking = false;
    });
  }

  #split(): void {
    const { cost, ranks, tbtSeconds } = this.#shape;
    const { busyRankSeconds } = this.#pool;
    const busy = (busyRankSeconds - this.#busyRankSeconds) / everySeconds;
    this.#busyRankSeconds = busyRankSeconds;
    this.#busyRanks += smoothing * (busy - this.#busyRanks);
    const queued = this.#pool.first(lookahead);
    const from = this.#decodeRanks;
    const to = planSplit(cost, {
      ranks,
      decoding: from,
      requests: this.#decode.requests,
      contextTokens: this.#decode.contextTokens,
      promisedTokens:
        this.#decode.startedTokens + queued.slice(0, 1).reduce((sum, job) => sum + tokensOf(job), 0),
      busyPrefillRanks: this.#busyRanks,
      queuedRankSeconds: queued.reduce(
        (sum, { request }) => sum + prefillSeconds(cost, request.inputTokens, 1),
        0,
      ),
      tbtSeconds,
    });
    if (to === from) return;
    this.#decodeRanks = to;
    this.#decode.repace();
    if (to > from) this.#take(to - from);
    else {
      const ready = this.#events.now + moveSeconds(cost, this.#decode.contextTokens, from, to);
      this.#events.at(ready, () => {
        this.#take(to - from);
      });
    }
  }

  /** Takes ranks from prefill, or gives some back. */
  #take(ranks: number): void {
    const group = this.#pool.groups[0];
    if (group === undefined) return;
    group.free -= ranks;
    if (ranks < 0) this.#pool.dispatch();
  }
}
