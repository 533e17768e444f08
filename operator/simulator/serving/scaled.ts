/**
 * The csps policy on a size that an autoscaler changes: new ranks serve after a start-up time and are paid for from when
 * they are asked for; closed groups finish their prompts; the pool shrinks to what its reservations fit into.
 */
import { decodeStep } from "../../planning/cost/decode.ts";
import { chooseDegree, degreeNow } from "../../planning/cost/degree.ts";
import { kvTokensOfRank, minimumDegree } from "../../planning/cost/memory.ts";
import { prefillSeconds, type CostProfile } from "../../planning/cost/profile.ts";
import { turnSeconds } from "../../planning/roles/turn.ts";
import type { Demand, LengthClass, Size } from "../../planning/scaling/decision.ts";
import { demandByClass } from "../../planning/scaling/demand.ts";
import type { Autoscaler } from "../autoscalers/autoscaler.ts";
import type { EventQueue } from "../eventQueue.ts";
import { DecodeSide, tokensOf } from "./decodeSide.ts";
import { Fleet } from "./fleet.ts";
import type { Job, Outcomes } from "./job.ts";
import { pageTokens, RoutedGroups } from "./routedGroups.ts";
import type { StepLoad } from "./stepBatch.ts";

export interface ScaledShape {
  readonly cost: CostProfile;
  readonly autoscaler: Autoscaler;
  readonly classes: readonly LengthClass[];
  readonly start: Size;
  /** Most ranks that may decode: a request that they could not hold is refused. */
  readonly mostDecodeRanks: number;
  readonly startupSeconds: number;
  /** Demand is counted over so long. */
  readonly windowSeconds: number;
  /** Answers are taken to be so long until some have ended. */
  readonly assumedOutputTokens: number;
}

const kvShare = 0.95;

export class ScaledSystem {
  readonly #shape: ScaledShape;
  readonly #events: EventQueue;
  readonly #outcomes: Outcomes;
  readonly #pool: RoutedGroups;
  readonly #decode: DecodeSide;
  readonly #groups: Fleet;
  readonly #decodeRanks: Fleet;
  #arrived: Job[] = [];
  #outstanding = 0;
  #ended = { requests: 0, tokens: 0, contextTokens: 0, squaredContextTokens: 0 };
  #ticking = false;
  #looked = { atSeconds: 0, busyRankSeconds: 0, rankSeconds: 0 };
  #accountedSeconds = 0;
  #groupRankSeconds = 0;
  gpuSeconds = 0;
  /** Sizes that were asked for, the first at the start. */
  readonly sizes: { readonly atSeconds: number; readonly size: Size }[];

  constructor(shape: ScaledShape, events: EventQueue, outcomes: Outcomes) {
    const { cost, start, startupSeconds } = shape;
    this.#shape = shape;
    this.#outcomes = outcomes;
    this.#events = events;
    this.sizes = [{ atSeconds: 0, size: start }];
    const fleet = (active: number) =>
      new Fleet(events, {
        active,
        startupSeconds,
        changing: () => {
          this.account();
        },
        changed: () => {
          this.#apply();
        },
      });
    this.#groups = fleet(start.groups);
    this.#decodeRanks = fleet(start.decodeRanks);
    const room = () => this.#roomOfRank * this.#decodeRanks.active;
    const stepSeconds = (load: StepLoad) => this.#stepSeconds(load);
    this.#decode = new DecodeSide(events, outcomes, [{ room, stepSeconds }], (job) => {
      this.#end(job);
    });
    const fastestSeconds = ({ request: { inputTokens } }: Job) => {
      const fastest = chooseDegree(cost, inputTokens, start.groupSize, 0)?.degree ?? start.groupSize;
      return prefillSeconds(cost, inputTokens, fastest);
    };
    this.#pool = new RoutedGroups(events, {
      groups: start.groups,
      groupSize: start.groupSize,
      wantedDegree: (job) =>
        chooseDegree(cost, job.request.inputTokens, start.groupSize, job.ttftSeconds)?.degree ?? 1,
      decodePool: () => this.#decodePool(),
      dueSeconds: (job) => turnSeconds(job.request.arrivalSeconds, fastestSeconds(job)),
      fastestSeconds,
      degreeOf: (job, { size, free }, waited, queued) => {
        const ranks = { size, free, uncontended: queued <= 1 };
        return degreeNow(cost, job.request.inputTokens, ranks, job.ttftSeconds - waited);
      },
      secondsOf: (job, degree) => prefillSeconds(cost, job.request.inputTokens, degree),
      admit: (job) => this.#decode.reserve(job),
      done: (job) => {
        this.#decode.start(job);
      },
    });
  }

  /** A request that the largest size could not hold is refused. */
  add(job: Job): void {
    const { cost, start, mostDecodeRanks } = this.#shape;
    const fits = (minimumDegree(cost, job.request.inputTokens) ?? Infinity) <= start.groupSize;
    if (!fits || tokensOf(job) > this.#roomOfRank * mostDecodeRanks) {
      this.#outcomes.refused += 1;
      return;
    }
    this.#arrived.push(job);
    this.#outstanding += 1;
    this.#pool.add(job);
    if (!this.#ticking) this.#tick();
  }

  #decodePool(): { readonly pagesTotal: number; readonly pagesFree: number; readonly running: number } {
    const pages = (this.#roomOfRank * this.#decodeRanks.active) / pageTokens;
    return {
      pagesTotal: pages,
      pagesFree: Math.max(0, pages - this.#decode.taken / pageTokens),
      running: this.#decode.requests,
    };
  }

  get #roomOfRank(): number {
    return kvTokensOfRank(this.#shape.cost) * kvShare;
  }

  #stepSeconds({ requests, contextTokens }: StepLoad): number {
    const { model, hardware, tensorDegree } = this.#shape.cost;
    const ranks = Math.max(1, this.#decodeRanks.active);
    return decodeStep(model, hardware, { requests, contextTokens, ranks, tensorDegree }).seconds;
  }

  #end(job: Job): void {
    this.#outstanding -= 1;
    const { inputTokens, outputTokens } = job.request;
    const context = inputTokens + outputTokens / 2;
    this.#ended = {
      requests: this.#ended.requests + 1,
      tokens: this.#ended.tokens + outputTokens,
      contextTokens: this.#ended.contextTokens + outputTokens * context,
      squaredContextTokens: this.#ended.squaredContextTokens + outputTokens * context ** 2,
    };
    this.#pool.dispatch();
  }

  #tick(): void {
    this.#ticking = true;
    this.#events.at(this.#events.now + this.#shape.autoscaler.everySeconds, () => {
      this.#decide();
      this.#ticking = false;
      if (this.#outstanding > 0) this.#tick();
    });
  }

  /** GPU time up to now, at the size that was kept until now. */
  account(): void {
    const seconds = this.#events.now - this.#accountedSeconds;
    const { groupSize } = this.#shape.start;
    const ranks = this.#pool.ranks + this.#groups.starting * groupSize + this.#decodeRanks.wanted;
    this.gpuSeconds += seconds * ranks * this.#shape.cost.tensorDegree;
    this.#groupRankSeconds += seconds * this.#pool.ranks;
    this.#accountedSeconds = this.#events.now;
  }

  #size(of: (fleet: Fleet) => number): Size {
    return {
      groups: of(this.#groups),
      groupSize: this.#shape.start.groupSize,
      decodeRanks: of(this.#decodeRanks),
    };
  }

  #decide(): void {
    this.account();
    const nowSeconds = this.#events.now;
    const { busyRankSeconds } = this.#pool;
    const rankSeconds = this.#groupRankSeconds - this.#looked.rankSeconds;
    const busy = busyRankSeconds - this.#looked.busyRankSeconds;
    const since = this.#looked.atSeconds;
    const wanted = this.#size((fleet) => fleet.wanted);
    const asked = this.#shape.autoscaler.decide({
      nowSeconds,
      active: this.#size((fleet) => fleet.active),
      wanted,
      prefillBusyShare: rankSeconds > 0 ? busy / rankSeconds : 0,
      kvShare: this.#decode.taken / Math.max(1, this.#roomOfRank * this.#decodeRanks.active),
      promptsInFlight: this.#pool.waiting + this.#pool.running,
      demand: () => this.#demand(),
      arrivedTokens: this.#arrived
        .filter(({ request }) => request.arrivalSeconds > since)
        .map(({ request }) => request.inputTokens),
    });
    this.#looked = { atSeconds: nowSeconds, busyRankSeconds, rankSeconds: this.#groupRankSeconds };
    this.#arrived = this.#arrived.filter(
      ({ request }) => request.arrivalSeconds >= nowSeconds - this.#shape.windowSeconds,
    );
    const size = { ...asked, decodeRanks: Math.max(asked.decodeRanks, this.#leastDecodeRanks(asked)) };
    if (size.groups === wanted.groups && size.decodeRanks === wanted.decodeRanks) return;
    this.sizes.push({ atSeconds: nowSeconds, size });
    this.#groups.want(size.groups);
    this.#decodeRanks.want(size.decodeRanks);
  }

  /** What is reserved stays, and so does room for the largest prompt that waits and was promised it. */
  #leastDecodeRanks(asked: Size): number {
    const { active } = this.#decodeRanks;
    if (asked.decodeRanks >= active) return 0;
    const promised = this.#pool.queued.reduce((most, job) => Math.max(most, tokensOf(job)), 0);
    return Math.min(active, Math.ceil((this.#decode.taken + promised) / this.#roomOfRank));
  }

  #apply(): void {
    this.#pool.resize(this.#groups.active);
    this.#decode.repace();
  }

  #demand(): Demand {
    const { classes, assumedOutputTokens, windowSeconds } = this.#shape;
    const since = this.#events.now - windowSeconds;
    const seconds = Math.min(windowSeconds, Math.max(1, this.#events.now));
    const lengths = this.#arrived
      .filter(({ request }) => request.arrivalSeconds >= since)
      .map(({ request }) => request.inputTokens);
    const { requests, tokens, contextTokens, squaredContextTokens } = this.#ended;
    const output = requests === 0 ? assumedOutputTokens : tokens / requests;
    const mean = lengths.reduce((sum, one) => sum + one, 0) / Math.max(1, lengths.length);
    const queuedTokens = this.#pool.queued.map((job) => job.request.inputTokens);
    return {
      classes: demandByClass(classes, { arrivedTokens: lengths, queuedTokens, windowSeconds: seconds }),
      decode: {
        arrivalsPerSecond: lengths.length / seconds,
        meanOutputTokens: output,
        // Over what is live, to which a request counts for as long as its answer is.
        meanContextTokens: requests === 0 ? mean + output / 2 : contextTokens / tokens,
        ...(requests > 0 && { meanSquareContextTokens: squaredContextTokens / tokens }),
        liveContextTokens: this.#decode.contextTokens,
        p90TbtSeconds: 0,
      },
      forecastRatio: 1,
    };
  }
}
