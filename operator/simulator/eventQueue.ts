/** Events on a virtual clock: a binary heap by time; events of one time keep the order in which they were added. */
export class EventQueue {
  readonly #times: number[] = [];
  readonly #orders: number[] = [];
  readonly #actions: (() => void)[] = [];
  #added = 0;
  /** Seconds. */
  now = 0;

  /** @throws when the time has passed already. */
  at(seconds: number, action: () => void): void {
    if (!(seconds >= this.now))
      throw new Error(`an event at ${seconds} s is before the present, ${this.now} s`);
    this.#times.push(seconds);
    this.#orders.push(this.#added++);
    this.#actions.push(action);
    this.#rise(this.#times.length - 1);
  }

  /** Runs events in order until none is left, or until `enough` says so. */
  run(enough: () => boolean = () => false): void {
    for (let action = this.#take(); action !== undefined; action = this.#take()) {
      action();
      if (enough()) return;
    }
  }

  #take(): (() => void) | undefined {
    const action = this.#actions[0];
    if (action === undefined) return undefined;
    this.now = this.#times[0] ?? this.now;
    const last = this.#times.length - 1;
    this.#swap(0, last);
    this.#times.pop();
    this.#orders.pop();
    this.#actions.pop();
    this.#sink(0);
    return action;
  }

  #before(a: number, b: number): boolean {
    const [timeA = 0, timeB = 0] = [this.#times[a], this.#times[b]];
    return timeA < timeB || (timeA === timeB && (this.#orders[a] ?? 0) < (this.#orders[b] ?? 0));
  }

  #rise(start: number): void {
    for (let index = start; index > 0;) {
      const parent = (index - 1) >> 1;
      if (!this.#before(index, parent)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  #sink(start: number): void {
    for (let index = start; ;) {
      const left = 2 * index + 1;
      if (left >= this.#times.length) return;
      const right = left + 1;
      const child = right < this.#times.length && this.#before(right, left) ? right : left;
      if (!this.#before(child, index)) return;
      this.#swap(index, child);
      index = child;
    }
  }

  #swap(a: number, b: number): void {
    swapIn(this.#times, a, b);
    swapIn(this.#orders, a, b);
    swapIn(this.#actions, a, b);
  }
}

function swapIn(items: unknown[], a: number, b: number): void {
  const kept = items[a];
  items[a] = items[b];
  items[b] = kept;
}
