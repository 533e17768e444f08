/**
 * Prefill groups with a queue each, as they are: a gateway's own routing (runtime/routing) says at its arrival to which
 * one a prompt goes, and there it stays. A group that is closed finishes what it was given.
 */
import { rankRoutes, type Routable } from "../../../runtime/routing/route.ts";
import type { EventQueue } from "../eventQueue.ts";
import type { Job } from "./job.ts";
import { PrefillPool, type PrefillPoolOptions } from "./prefillPool.ts";

export interface RoutedGroupsOptions extends PrefillPoolOptions {
  readonly groups: number;
  readonly groupSize: number;
  /** Ranks that a prompt should have. */
  readonly wantedDegree: (job: Job) => number;
  /** The decode pool as a gateway sees it. */
  readonly decodePool: () => Pick<Routable, "pagesTotal" | "pagesFree" | "running">;
}

interface Member {
  readonly name: string;
  readonly ranks: readonly string[];
  readonly prompts: PrefillPool;
  readonly servingSinceMs: number;
}

export const pageTokens = 64;
/** Groups are seen as they are at once. */
const nothing = { requests: 0, promptTokens: 0 };
const alike = { kvFormat: "simulated", pageTokens };

export class RoutedGroups {
  readonly #events: EventQueue;
  readonly #options: RoutedGroupsOptions;
  #open: readonly Member[] = [];
  /** Closed, and not done with what they were given. */
  #closing: readonly Member[] = [];
  #made = 0;
  /** Rank time of members that are gone. */
  #goneBusySeconds = 0;

  constructor(events: EventQueue, options: RoutedGroupsOptions) {
    this.#events = events;
    this.#options = options;
    this.resize(options.groups);
  }

  add(job: Job): void {
    const pool = {
      ...alike,
      role: "decode" as const,
      group: "pool",
      members: [],
      waiting: 0,
      promptTokens: 0,
      servingSinceMs: 0,
    };
    const groups = this.#open.map(({ name, ranks, prompts, servingSinceMs }) => ({
      ...alike,
      role: "prefill" as const,
      ...{ group: name, members: ranks, pagesTotal: 0, pagesFree: 0, servingSinceMs },
      running: prompts.running,
      waiting: prompts.waiting,
      promptTokens: prompts.promptTokens,
      prompts,
    }));
    const [best] = rankRoutes<Routable & { readonly prompts?: PrefillPool }>(
      [...groups, { ...pool, ...this.#options.decodePool() }],
      {
        promptTokens: job.request.inputTokens,
        wantedDegree: this.#options.wantedDegree(job),
        nowMs: this.#events.now * 1000,
        inFlight: () => nothing,
      },
    );
    if (best?.group.prompts === undefined) throw new Error("no group serves");
    best.group.prompts.add(job);
  }

  get #members(): readonly Member[] {
    return [...this.#open, ...this.#closing];
  }

  get queued(): readonly Job[] {
    return this.#members.flatMap(({ prompts }) => prompts.queued);
  }

  get waiting(): number {
    return this.#members.reduce((sum, { prompts }) => sum + prompts.waiting, 0);
  }

  get running(): number {
    return this.#members.reduce((sum, { prompts }) => sum + prompts.running, 0);
  }

  get busyRankSeconds(): number {
    return this.#members.reduce((sum, { prompts }) => sum + prompts.busyRankSeconds, this.#goneBusySeconds);
  }

  /** Ranks that are kept: those of open groups, and of closed ones until their prompts are done. */
  get ranks(): number {
    return (this.#open.length + this.#closing.filter(isBusy).length) * this.#options.groupSize;
  }

  /** Opens groups, or closes those with the least to do, until so many are open. */
  resize(groups: number): void {
    const idlest = [...this.#open].sort((a, b) => loadOf(a) - loadOf(b));
    const closed = new Set(idlest.slice(0, Math.max(0, this.#open.length - groups)));
    this.#closing = [...this.#closing, ...closed];
    const kept = this.#open.filter((one) => !closed.has(one));
    const made = Array.from({ length: Math.max(0, groups - kept.length) }, () => this.#make());
    this.#open = [...kept, ...made];
    this.#leave();
  }

  /** Starts what can start, as room became free. */
  dispatch(): void {
    for (const { prompts } of this.#members) prompts.dispatch();
  }

  #make(): Member {
    const { groupSize } = this.#options;
    const name = `group-${this.#made++}`;
    return {
      name,
      ranks: Array.from({ length: groupSize }, (_, rank) => `${name}-${rank}`),
      prompts: new PrefillPool(this.#events, [groupSize], this.#options),
      servingSinceMs: this.#events.now * 1000,
    };
  }

  #leave(): void {
    for (const one of this.#closing) if (!isBusy(one)) this.#goneBusySeconds += one.prompts.busyRankSeconds;
    this.#closing = this.#closing.filter(isBusy);
  }
}

function loadOf({ prompts }: Member): number {
  return prompts.running + prompts.waiting;
}

function isBusy(one: Member): boolean {
  return loadOf(one) > 0;
}
