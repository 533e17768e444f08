/**
 * The csps policy under its autoscaler: `planScaling`, the planner of the operator, looks every half minute at what
 * arrived and waits, and its decision is carried out: new ranks serve after a start-up time, during which pods are
 * pending; closed groups finish their prompts; the pool shrinks when what is reserved fits the rest.
 */
import { decodeStep } from "../../planning/cost/decode.ts";
import { degreeNow } from "../../planning/cost/degree.ts";
import { kvTokensOfRank, minimumDegree } from "../../planning/cost/memory.ts";
import { prefillSeconds, type CostProfile } from "../../planning/cost/profile.ts";
import { noMemory, type Demand, type ScalingPolicy, type Size } from "../../planning/scaling/decision.ts";
import { demandByClass } from "../../planning/scaling/demand.ts";
import { planScaling } from "../../planning/scaling/plan.ts";
import type { EventQueue } from "../eventQueue.ts";
import { DecodeSide, tokensOf } from "./decodeSide.ts";
import type { Job, Outcomes } from "./job.ts";
import { PrefillPool } from "./prefillPool.ts";

export interface ScaledShape {
  readonly cost: CostProfile;
  readonly policy: ScalingPolicy;
  readonly start: Size;
  readonly startupSeconds: number;
  /** Answers are taken to be so long until some have ended. */
  readonly assumedOutputTokens: number;
}

const everySeconds = 30;
const windowSeconds = 300;
const kvShare = 0.95;

export class ScaledSystem {
  readonly #shape: ScaledShape;
  readonly #events: EventQueue;
  readonly #outcomes: Outcomes;
  readonly #pool: PrefillPool;
  readonly #decode: DecodeSide;
  #size: Size;
  #memory = noMemory;
  #arrived: Job[] = [];
  #outstanding = 0;
  #ended = { requests: 0, tokens: 0 };
  #pending = 0;
  #ticking = false;
  #accounted = 0;
  gpuSeconds = 0;
  reversals = 0;
  /** Sizes as they were decided, the first at the start. */
  readonly sizes: Size[];

  constructor(shape: ScaledShape, events: EventQueue, outcomes: Outcomes) {
    const { cost, start } = shape;
    this.#shape = shape;
    this.#outcomes = outcomes;
    this.#events = events;
    this.#size = start;
    this.sizes = [start];
    const room = () => this.#room(this.#size.decodeRanks);
    const stepSeconds = (load: { readonly requests: number; readonly contextTokens: number }) =>
      decodeStep(cost.model, cost.hardware, {
        ...load,
        ranks: this.#size.decodeRanks,
        tensorDegree: cost.tensorDegree,
      }).seconds;
    this.#decode = new DecodeSide(events, outcomes, [{ room, stepSeconds }], (job) => {
      this.#end(job);
    });
    this.#pool = new PrefillPool(
      events,
      Array.from({ length: start.groups }, () => start.groupSize),
      {
        degreeOf: (job, { size, free }, waited, queued) =>
          degreeNow(
            cost,
            job.request.inputTokens,
            { size, free, uncontended: queued <= 1 },
            job.ttftSeconds - waited,
          ),
        secondsOf: (job, degree) => prefillSeconds(cost, job.request.inputTokens, degree),
        admit: (job) => this.#decode.reserve(job),
        done: (job) => {
          this.#decode.start(job);
        },
      },
    );
  }

  /** A request that the present size could not hold, were it alone, is refused. */
  add(job: Job): void {
    const { cost, start } = this.#shape;
    const fits = (minimumDegree(cost, job.request.inputTokens) ?? Infinity) <= start.groupSize;
    if (!fits || tokensOf(job) > this.#room(this.#size.decodeRanks)) {
      this.#outcomes.refused += 1;
      return;
    }
    this.#arrived.push(job);
    this.#outstanding += 1;
    this.#pool.add(job);
    if (!this.#ticking) this.#tick();
  }

  #room(decodeRanks: number): number {
    return kvTokensOfRank(this.#shape.cost) * kvShare * decodeRanks;
  }

  #end(job: Job): void {
    this.#outstanding -= 1;
    this.#ended = {
      requests: this.#ended.requests + 1,
      tokens: this.#ended.tokens + job.request.outputTokens,
    };
    this.#pool.dispatch();
  }

  #tick(): void {
    this.#ticking = true;
    this.#events.at(this.#events.now + everySeconds, () => {
      this.#account();
      this.#decide();
      this.#ticking = false;
      if (this.#outstanding > 0) this.#tick();
    });
  }

  /** GPU time up to now, at the size that was kept until now. */
  #account(): void {
    const ranks = this.#pool.ranks + this.#size.decodeRanks + this.#pending;
    this.gpuSeconds += (this.#events.now - this.#accounted) * ranks * this.#shape.cost.tensorDegree;
    this.#accounted = this.#events.now;
  }

  #decide(): void {
    const { policy, cost } = this.#shape;
    const nowMs = this.#events.now * 1e3;
    const decision = planScaling({
      nowMs,
      policy,
      cost,
      current: this.#size,
      pendingPods: this.#pending,
      expectedPods: 1,
      samples: [{ podUid: "simulated", atMs: nowMs }],
      demand: this.#demand(),
      memory: this.#memory,
    });
    this.reversals += decision.memory.reversalsMs.filter((atMs) => atMs === nowMs).length;
    this.#memory = decision.memory;
    const { size } = decision;
    const shrinks = size.decodeRanks < this.#size.decodeRanks;
    // What waits was promised room: the pool does not shrink below the largest of it.
    const promised = Math.max(0, ...this.#pool.queued.map(tokensOf));
    const fits = this.#decode.taken + promised <= this.#room(size.decodeRanks);
    this.#carryOut(shrinks && !fits ? { ...size, decodeRanks: this.#size.decodeRanks } : size);
  }

  #carryOut(next: Size): void {
    const [from, grown] = [this.#size, (to: number, was: number) => Math.max(0, to - was)];
    const ranks =
      grown(next.groups, from.groups) * next.groupSize + grown(next.decodeRanks, from.decodeRanks);
    if (next.groups === from.groups && next.decodeRanks === from.decodeRanks) return;
    this.sizes.push(next);
    this.#apply({
      ...next,
      groups: Math.min(next.groups, from.groups),
      decodeRanks: Math.min(next.decodeRanks, from.decodeRanks),
    });
    if (ranks === 0) return;
    this.#pending = ranks;
    this.#events.at(this.#events.now + this.#shape.startupSeconds, () => {
      this.#account();
      this.#pending = 0;
      this.#apply(next);
    });
  }

  #apply(size: Size): void {
    this.#size = size;
    this.#pool.resize(size.groups, size.groupSize);
    this.#decode.repace();
  }

  #demand(): Demand {
    const { policy, assumedOutputTokens } = this.#shape;
    const since = this.#events.now - windowSeconds;
    this.#arrived = this.#arrived.filter((job) => job.request.arrivalSeconds >= since);
    const seconds = Math.min(windowSeconds, Math.max(everySeconds, this.#events.now));
    const lengths = this.#arrived.map((job) => job.request.inputTokens);
    const mean = lengths.reduce((sum, one) => sum + one, 0) / Math.max(1, lengths.length);
    const output =
      this.#ended.requests === 0 ? assumedOutputTokens : this.#ended.tokens / this.#ended.requests;
    const queuedTokens = this.#pool.queued.map((job) => job.request.inputTokens);
    return {
      classes: demandByClass(policy.classes, {
        arrivedTokens: lengths,
        queuedTokens,
        windowSeconds: seconds,
      }),
      decode: {
        arrivalsPerSecond: lengths.length / seconds,
        meanOutputTokens: output,
        meanContextTokens: mean + output / 2,
        liveContextTokens: this.#decode.contextTokens,
        p90TbtSeconds: 0,
      },
      forecastRatio: 1,
    };
  }
}
