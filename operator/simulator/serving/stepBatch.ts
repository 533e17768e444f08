/**
 * A batch that decodes in step: each member gains one token a step, and a step may carry chunks of prompts beside them.
 * Events are only where the batch changes; between them the time of k steps is that of a straight line,
 *
 *   T(k) = k s0 + slope k^2 / 2,   slope = (s(K) - s0) / K,   K = steps to the next change
 *
 * as context grows by the same number of tokens each step.
 */
import type { EventQueue } from "../eventQueue.ts";

export interface StepLoad {
  readonly requests: number;
  readonly contextTokens: number;
  /** What the step prefills; undefined when nothing. */
  readonly chunk: Chunk | undefined;
}

export interface Chunk {
  readonly tokens: number;
  /** Sum over prompts of how much the square of what is prefilled grows: attention's work. */
  readonly squaredTokens: number;
}

interface Member {
  readonly lastStep: number;
  readonly contextTokens: number;
  readonly done: () => void;
}

interface Mixed {
  readonly chunk: Chunk;
  readonly endStep: number;
  readonly done: () => void;
}

export class StepBatch {
  readonly #events: EventQueue;
  readonly #stepSeconds: (load: StepLoad) => number;
  /** Binary heap by last step. */
  readonly #members: Member[] = [];
  #contextTokens = 0;
  #steps = 0;
  #since = 0;
  #first = 0;
  #slope = 0;
  #span = 0;
  #version = 0;
  #mixed: Mixed | undefined;

  constructor(events: EventQueue, stepSeconds: (load: StepLoad) => number) {
    this.#events = events;
    this.#stepSeconds = stepSeconds;
  }

  get requests(): number {
    return this.#members.length;
  }

  get contextTokens(): number {
    return this.#contextTokens;
  }

  /** A step is under way that carries a chunk. */
  get mixing(): boolean {
    return this.#mixed !== undefined;
  }

  /** Adds a request of so many further tokens. */
  join(tokens: number, contextTokens: number, done: () => void): void {
    this.#settle();
    this.#contextTokens += contextTokens;
    push(this.#members, { lastStep: this.#steps + tokens, contextTokens: contextTokens + tokens, done });
    this.#plan();
  }

  /** The next step carries a chunk. @throws while one that does is under way. */
  mix(chunk: Chunk, done: () => void): void {
    if (this.#mixed !== undefined) throw new Error("a step carries one chunk");
    this.#settle();
    this.#mixed = { chunk, endStep: this.#steps + 1, done };
    this.#plan();
  }

  /** To be called when what a step takes has changed. */
  repace(): void {
    this.#settle();
    this.#plan();
  }

  #settle(): void {
    const elapsed = this.#events.now - this.#since;
    this.#since = this.#events.now;
    if (this.#span === 0 || elapsed <= 0) return;
    const curved = this.#slope * elapsed > 1e-9 * this.#first * this.#first;
    const root = Math.sqrt(this.#first ** 2 + 2 * this.#slope * elapsed);
    this.#gain(Math.min(this.#span, curved ? (root - this.#first) / this.#slope : elapsed / this.#first));
  }

  #gain(steps: number): void {
    this.#steps += steps;
    this.#contextTokens += this.#members.length * steps;
  }

  #secondsAfter(steps: number): number {
    const { length } = this.#members;
    return this.#stepSeconds({
      requests: length,
      contextTokens: this.#contextTokens + length * steps,
      chunk: this.#mixed?.chunk,
    });
  }

  #plan(): void {
    const version = ++this.#version;
    const next = Math.min(this.#members[0]?.lastStep ?? Infinity, this.#mixed?.endStep ?? Infinity);
    this.#span = 0;
    if (next === Infinity) return;
    const span = Math.max(0, next - this.#steps);
    this.#first = this.#secondsAfter(0);
    const last = span === 0 ? this.#first : this.#secondsAfter(span);
    this.#slope = span === 0 ? 0 : Math.max(0, (last - this.#first) / span);
    this.#span = span;
    this.#events.at(this.#since + span * this.#first + (this.#slope * span ** 2) / 2, () => {
      if (version === this.#version) this.#change(span);
    });
  }

  #change(span: number): void {
    this.#since = this.#events.now;
    this.#gain(span);
    this.#span = 0;
    const done: (() => void)[] = [];
    const reached = this.#steps + 1e-6;
    for (
      let first = this.#members[0];
      first !== undefined && first.lastStep <= reached;
      first = this.#members[0]
    ) {
      pop(this.#members);
      this.#contextTokens -= first.contextTokens;
      done.push(first.done);
    }
    if (this.#members.length === 0) this.#contextTokens = 0;
    if (this.#mixed !== undefined && this.#mixed.endStep <= reached) {
      done.push(this.#mixed.done);
      this.#mixed = undefined;
    }
    this.#plan();
    for (const one of done) one();
  }
}

function push(heap: Member[], member: Member): void {
  let index = heap.length;
  heap.push(member);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || above.lastStep <= member.lastStep) break;
    heap[index] = above;
    index = parent;
  }
  heap[index] = member;
}

function pop(heap: Member[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let index = 0;
  for (;;) {
    const left = 2 * index + 1;
    const right = left + 1;
    const leftStep = heap[left]?.lastStep ?? Infinity;
    const child = (heap[right]?.lastStep ?? Infinity) < leftStep ? right : left;
    const below = heap[child];
    if (below === undefined || below.lastStep >= last.lastStep) break;
    heap[index] = below;
    index = child;
  }
  heap[index] = last;
}
