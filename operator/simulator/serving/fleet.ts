/** Members of one role: those that serve, and those that were asked for and have not started yet. */
import type { EventQueue } from "../eventQueue.ts";

interface Start {
  members: number;
}

export class Fleet {
  readonly #events: EventQueue;
  readonly #startupSeconds: number;
  readonly #changing: () => void;
  readonly #changed: () => void;
  #starts: Start[] = [];
  active: number;

  /** @param options `changing` and `changed` are called before and after members begin or cease to serve. */
  constructor(
    events: EventQueue,
    options: {
      readonly active: number;
      readonly startupSeconds: number;
      readonly changing: () => void;
      readonly changed: () => void;
    },
  ) {
    this.#events = events;
    this.#startupSeconds = options.startupSeconds;
    this.#changing = options.changing;
    this.#changed = options.changed;
    this.active = options.active;
  }

  get starting(): number {
    return this.#starts.reduce((sum, one) => sum + one.members, 0);
  }

  get wanted(): number {
    return this.active + this.starting;
  }

  /** Asks for members or gives some up: of those that are starting the latest first, then of those that serve. */
  want(members: number): void {
    const more = members - this.wanted;
    if (more > 0) this.#start(more);
    if (more < 0) this.#giveUp(-more);
  }

  #start(members: number): void {
    const start = { members };
    this.#starts.push(start);
    this.#events.at(this.#events.now + this.#startupSeconds, () => {
      this.#change(start.members, start);
    });
  }

  #giveUp(members: number): void {
    let left = members;
    for (const start of [...this.#starts].reverse()) {
      const cancelled = Math.min(left, start.members);
      start.members -= cancelled;
      left -= cancelled;
    }
    this.#change(-left);
  }

  #change(members: number, start?: Start): void {
    if (members !== 0) this.#changing();
    this.#starts = this.#starts.filter((one) => one !== start);
    this.active += members;
    if (members !== 0) this.#changed();
  }
}
