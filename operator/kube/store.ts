/** Objects by key, with indexes that stay right under every change. What it returns is shared: never change it. */
import { controllerOf, keyOf, type KubeObject } from "./object.ts";

/** The values under which an object is found; none when it does not belong in the index. */
export type IndexBy<T> = (object: T) => readonly string[];

/** By uid of the controlling owner. */
export const byOwner: IndexBy<KubeObject> = (object) => {
  const owner = controllerOf(object);
  return owner === undefined ? [] : [owner.uid];
};

/** By the value of one label. */
export function byLabel(label: string): IndexBy<KubeObject> {
  return (object) => {
    const value = object.metadata.labels?.[label];
    return value === undefined ? [] : [value];
  };
}

/** Pods by the node that they are bound to. */
export const byNode: IndexBy<KubeObject & { spec?: { nodeName?: string } }> = (pod) =>
  pod.spec?.nodeName === undefined ? [] : [pod.spec.nodeName];

export const byNamespace: IndexBy<KubeObject> = (object) => [object.metadata.namespace ?? ""];

/** What one replacement of the whole content changed. */
export interface Replacement<T> {
  readonly added: T[];
  readonly updated: { before: T; after: T }[];
  readonly removed: T[];
}

export class Store<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #indexers: ReadonlyMap<string, IndexBy<T>>;
  /** Index name → value → keys. */
  readonly #indexes = new Map<string, Map<string, Set<string>>>();

  constructor(indexes: Readonly<Record<string, IndexBy<T>>> = {}) {
    this.#indexers = new Map(Object.entries(indexes));
    for (const name of this.#indexers.keys()) this.#indexes.set(name, new Map());
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  /** Objects with this value in the index. Throws when the store has no such index. */
  byIndex(index: string, value: string): T[] {
    const values = this.#indexes.get(index);
    if (values === undefined) throw new Error(`The store has no index "${index}"`);
    return [...(values.get(value) ?? [])].flatMap((key) => this.#objects.get(key) ?? []);
  }

  /** Returns the object that was there before. */
  upsert(object: T): T | undefined {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    if (before !== undefined) this.#unindex(key, before);
    this.#objects.set(key, object);
    for (const [name, indexBy] of this.#indexers) {
      const values = this.#indexes.get(name);
      for (const value of indexBy(object)) {
        const keys = values?.get(value);
        if (keys === undefined) values?.set(value, new Set([key]));
        else keys.add(key);
      }
    }
    return before;
  }

  /** Returns the object that was there. */
  remove(key: string): T | undefined {
    const before = this.#objects.get(key);
    if (before === undefined) return undefined;
    this.#unindex(key, before);
    this.#objects.delete(key);
    return before;
  }

  /** Makes the content equal to `objects`; an object with an unchanged resource version is not reported. */
  replace(objects: readonly T[]): Replacement<T> {
    const kept = new Set(objects.map(keyOf));
    const removed = [...this.#objects.keys()]
      .filter((key) => !kept.has(key))
      .flatMap((key) => this.remove(key) ?? []);
    const added: T[] = [];
    const updated: { before: T; after: T }[] = [];
    for (const after of objects) {
      const before = this.upsert(after);
      if (before === undefined) added.push(after);
      else if (before.metadata.resourceVersion !== after.metadata.resourceVersion)
        updated.push({ before, after });
    }
    return { added, updated, removed };
  }

  #unindex(key: string, object: T): void {
    for (const [name, indexBy] of this.#indexers) {
      const values = this.#indexes.get(name);
      for (const value of indexBy(object)) {
        const keys = values?.get(value);
        keys?.delete(key);
        if (keys?.size === 0) values?.delete(value);
      }
    }
  }
}
