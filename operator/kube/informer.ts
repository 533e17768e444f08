/** A reflector that fills a store and tells handlers what changed. */
import { sleep } from "./backoff.ts";
import { keyOf, type KubeObject } from "./object.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { Store, type IndexBy } from "./store.ts";

/** Called after the store has changed. What a handler throws is logged and reaches no other handler. */
export interface InformerHandlers<T> {
  added?(object: T): void;
  updated?(before: T, after: T): void;
  /** `object` is the last state known. */
  removed?(object: T): void;
}

export interface InformerOptions<T extends KubeObject> extends ReflectorOptions<T> {
  readonly indexes?: Readonly<Record<string, IndexBy<T>>> | undefined;
}

export class Informer<T extends KubeObject> {
  readonly store: Store<T>;
  readonly #reflector: Reflector<T>;
  readonly #options: InformerOptions<T>;
  readonly #handlers: InformerHandlers<T>[] = [];

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.store = new Store<T>(options.indexes);
    this.#reflector = new Reflector<T>(options, {
      replaced: (objects) => {
        this.#replace(objects);
      },
      upserted: (object) => {
        this.#upsert(object);
      },
      removed: (object) => {
        this.#remove(object);
      },
    });
  }

  /** Objects that are already in the store are told to the new handlers as added. */
  handle(handlers: InformerHandlers<T>): this {
    this.#handlers.push(handlers);
    for (const object of this.store.list()) this.#call(() => handlers.added?.(object));
    return this;
  }

  start(): this {
    this.#reflector.start();
    return this;
  }

  stop(): Promise<void> {
    return this.#reflector.stop();
  }

  get hasSynced(): boolean {
    return this.#reflector.hasSynced;
  }

  /** Version up to which the store is right; empty before the first list. */
  get resourceVersion(): string {
    return this.#reflector.resourceVersion;
  }

  /** Resolves after the first full list. Throws an Error when the deadline passes first. */
  async synced(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!this.hasSynced) {
      if (performance.now() > deadline) {
        throw new Error(`No list of ${this.#options.resource.plural} in ${String(timeoutMs)} ms`);
      }
      await sleep(20);
    }
  }

  #replace(objects: T[]): void {
    const { added, updated, removed } = this.store.replace(objects);
    for (const object of removed) this.#tell((handlers) => handlers.removed?.(object));
    for (const { before, after } of updated) this.#changed(before, after);
    for (const object of added) this.#tell((handlers) => handlers.added?.(object));
  }

  #upsert(object: T): void {
    const before = this.store.upsert(object);
    if (before === undefined) this.#tell((handlers) => handlers.added?.(object));
    else this.#changed(before, object);
  }

  /** A name that another object has taken meanwhile is a removal and an addition, though no list or watch says so. */
  #changed(before: T, after: T): void {
    if (before.metadata.uid === after.metadata.uid) {
      this.#tell((handlers) => handlers.updated?.(before, after));
      return;
    }
    this.#tell((handlers) => handlers.removed?.(before));
    this.#tell((handlers) => handlers.added?.(after));
  }

  #remove(object: T): void {
    this.store.remove(keyOf(object));
    this.#tell((handlers) => handlers.removed?.(object));
  }

  #tell(call: (handlers: InformerHandlers<T>) => unknown): void {
    for (const handlers of this.#handlers) this.#call(() => call(handlers));
  }

  /** Isolates one handler; one that returns a promise, against its type, is isolated as well. */
  #call(call: () => unknown): void {
    const failed = (error: unknown): void => {
      const { cluster, resource } = this.#options;
      cluster.telemetry.log("error", "An event handler threw", {
        resource: resource.plural,
        error: String(error),
      });
    };
    try {
      Promise.resolve(call()).catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}
