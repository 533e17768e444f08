/**
 * Groups that prefill whole prompts. One queue by the time that each prompt is due; ranks that the first prompt can't use
 * yet go to one of the next few, until the first has waited twice its objective. Where prompts stand back, those that
 * can't be in time any more let the others pass, by `standingOf`; nobody passes one that has waited long enough.
 */
import { standingOf, type Standing } from "../../planning/roles/turn.ts";
import type { EventQueue } from "../eventQueue.ts";
import type { Job } from "./job.ts";

export interface Group {
  /** Ranks that are idle now; below zero while ranks that were taken out still finish a prompt. */
  free: number;
  readonly size: number;
  /** Takes new prompts. */
  open: boolean;
}

export interface PrefillPoolOptions {
  /** Degree for a prompt on a group; undefined while it should wait. Pure. */
  readonly degreeOf: (
    job: Job,
    group: Readonly<Group>,
    waitedSeconds: number,
    queued: number,
  ) => number | undefined;
  readonly secondsOf: (job: Job, degree: number) => number;
  /** Takes what the prompt needs elsewhere; false while there is no room. */
  readonly admit: (job: Job) => boolean;
  readonly done: (job: Job) => void;
  /** Place in the queue, earliest first; without it the order of arrival. */
  readonly dueSeconds?: (job: Job) => number;
  /** What a prompt takes at best; with it late ones stand back. */
  readonly fastestSeconds?: (job: Job) => number;
}

interface Waiting {
  readonly job: Job;
  readonly dueSeconds: number;
  /** Undefined: it never stands back. */
  readonly fastestSeconds: number | undefined;
}

const lookahead = 4;

export class PrefillPool {
  readonly groups: Group[];
  readonly #events: EventQueue;
  readonly #options: PrefillPoolOptions;
  readonly #queue: Waiting[] = [];
  /** Those that stand back, in the same order; found late when they come to the head of the queue. */
  readonly #late: Waiting[] = [];
  #running = 0;
  #promptTokens = 0;
  #busyRanks = 0;
  #busyRankSeconds = 0;
  #busySince = 0;

  constructor(events: EventQueue, sizes: readonly number[], options: PrefillPoolOptions) {
    this.#events = events;
    this.#options = options;
    this.groups = sizes.map((size) => ({ free: size, size, open: true }));
  }

  get queued(): readonly Job[] {
    return [...this.#late, ...this.#queue].map(({ job }) => job);
  }

  /** The first few of those that wait. */
  first(prompts: number): readonly Job[] {
    return this.#queue.slice(0, prompts).map(({ job }) => job);
  }

  get waiting(): number {
    return this.#queue.length + this.#late.length;
  }

  /** Prompts that are prefilled now. */
  get running(): number {
    return this.#running;
  }

  /** Tokens of the prompts that wait or are prefilled. */
  get promptTokens(): number {
    return this.#promptTokens;
  }

  get busyRanks(): number {
    return this.#busyRanks;
  }

  /** Time that ranks have prefilled, summed over ranks. */
  get busyRankSeconds(): number {
    return this.#busyRankSeconds + this.#busyRanks * (this.#events.now - this.#busySince);
  }

  add(job: Job): void {
    const dueSeconds = this.#options.dueSeconds?.(job) ?? job.request.arrivalSeconds;
    const fastestSeconds = this.#options.fastestSeconds?.(job);
    this.#promptTokens += job.request.inputTokens;
    const place = insert(this.#queue, { job, dueSeconds, fastestSeconds });
    if (place < lookahead) this.dispatch();
  }

  /** Ranks that are kept: those of open groups, and of closed ones until their prompts are done. */
  get ranks(): number {
    return this.groups.reduce((sum, { open, free, size }) => sum + (open || free < size ? size : 0), 0);
  }

  /** Opens or closes groups until so many are open; a closed one finishes its prompts. */
  resize(groups: number, size: number): void {
    const open = this.groups.filter((group) => group.open);
    // Those with most idle ranks go first: they hold nobody up.
    for (const group of [...open].sort((a, b) => b.free - a.free).slice(0, Math.max(0, open.length - groups)))
      group.open = false;
    for (let index = open.length; index < groups; index++) this.groups.push({ free: size, size, open: true });
    const kept = this.groups.filter((group) => group.open || group.free < group.size);
    this.groups.splice(0, this.groups.length, ...kept);
    this.dispatch();
  }

  /** Starts what can start. To be called whenever ranks or room became free. */
  dispatch(): void {
    if (!this.#startWaitedLong()) return;
    this.#startFirst(this.#queue);
    this.#startFirst(this.#late);
  }

  /** False when one of those that nobody passes has to wait on. */
  #startWaitedLong(): boolean {
    for (let index = 0; index < Math.min(lookahead, this.#late.length);) {
      const waiting = this.#late[index];
      if (waiting === undefined || this.#standing(waiting) !== "waitedLong") index++;
      else if (this.#start(waiting.job)) this.#late.splice(index, 1);
      else return false;
    }
    return true;
  }

  #startFirst(queue: Waiting[]): void {
    for (let index = 0; index < Math.min(lookahead, queue.length);) {
      const waiting = queue[index];
      if (waiting === undefined) return;
      const { job } = waiting;
      if (queue === this.#queue && this.#standing(waiting) !== "inTime") {
        queue.splice(index, 1);
        insert(this.#late, waiting);
      } else if (this.#start(job)) queue.splice(index, 1);
      else if (index === 0 && this.#waitedSeconds(job) > 2 * job.ttftSeconds) return;
      else index++;
    }
  }

  #standing({ job, fastestSeconds }: Waiting): Standing {
    if (fastestSeconds === undefined) return "inTime";
    return standingOf(this.#waitedSeconds(job), fastestSeconds, job.ttftSeconds);
  }

  #waitedSeconds({ request }: Job): number {
    return this.#events.now - request.arrivalSeconds;
  }

  #start(job: Job): boolean {
    const waited = this.#waitedSeconds(job);
    let best: { readonly group: Group; readonly degree: number } | undefined;
    for (const group of this.groups) {
      if (!group.open || group.free <= 0 || (best !== undefined && best.group.free <= group.free)) continue;
      const degree = this.#options.degreeOf(job, group, waited, this.waiting);
      if (degree !== undefined && degree <= group.free) best = { group, degree };
    }
    if (best === undefined || !this.#options.admit(job)) return false;
    const { group, degree } = best;
    group.free -= degree;
    this.#running += 1;
    this.#busy(degree);
    this.#events.at(this.#events.now + this.#options.secondsOf(job, degree), () => {
      group.free += degree;
      this.#running -= 1;
      this.#promptTokens -= job.request.inputTokens;
      this.#busy(-degree);
      this.#options.done(job);
      this.dispatch();
    });
    return true;
  }

  #busy(ranks: number): void {
    this.#busyRankSeconds = this.busyRankSeconds;
    this.#busySince = this.#events.now;
    this.#busyRanks += ranks;
  }
}

/** Puts it behind all that are due no later, and says where. */
function insert(queue: Waiting[], waiting: Waiting): number {
  let low = 0;
  let high = queue.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((queue[middle]?.dueSeconds ?? 0) <= waiting.dueSeconds) low = middle + 1;
    else high = middle;
  }
  queue.splice(low, 0, waiting);
  return low;
}
