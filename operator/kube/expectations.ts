/**
 * What a controller has asked for and its cache has not yet shown (the scheme of the ReplicaSet controller).
 *
 * A cache lags behind the controller's own writes: a reconcile that trusted it would create a pod twice. So each write
 * is announced here first, and the owner is not reconciled by counting pods until every announced pod has been seen to
 * come or go, or until the time-out, after which an event is taken for lost.
 */

interface Pending {
  /** Names that should appear. */
  creations: Set<string>;
  /** uids that should disappear; a name may come back at once. */
  deletions: Set<string>;
  announcedAtMs: number;
}

export interface ExpectationsOptions {
  /** Default: 5 minutes. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds of a clock that never steps back. */
  readonly monotonicMs?: (() => number) | undefined;
}

export class Expectations {
  readonly #timeoutMs: number;
  readonly #monotonicMs: () => number;
  readonly #pending = new Map<string, Pending>();

  constructor(options: ExpectationsOptions = {}) {
    this.#timeoutMs = options.timeoutMs ?? 5 * 60_000;
    this.#monotonicMs = options.monotonicMs ?? ((): number => performance.now());
  }

  /** Call before the create requests. */
  expectCreations(owner: string, names: readonly string[]): void {
    const pending = this.#announce(owner);
    for (const name of names) pending.creations.add(name);
    this.#settle(owner);
  }

  /** Call before the delete requests. */
  expectDeletions(owner: string, uids: readonly string[]): void {
    const pending = this.#announce(owner);
    for (const uid of uids) pending.deletions.add(uid);
    this.#settle(owner);
  }

  /** The object came into the cache, or its creation failed. */
  creationObserved(owner: string, name: string): void {
    this.#pending.get(owner)?.creations.delete(name);
    this.#settle(owner);
  }

  /** The object left the cache, carries a deletionTimestamp, or its deletion failed. */
  deletionObserved(owner: string, uid: string): void {
    this.#pending.get(owner)?.deletions.delete(uid);
    this.#settle(owner);
  }

  /** Whether the cache shows everything that was announced for the owner, or the time-out has passed. */
  satisfied(owner: string): boolean {
    return this.remainingMs(owner) === 0;
  }

  /** Time until the owner is satisfied at the latest; 0 when it is. A reconcile that is held back waits this long. */
  remainingMs(owner: string): number {
    const pending = this.#pending.get(owner);
    if (pending === undefined) return 0;
    return Math.max(0, pending.announcedAtMs + this.#timeoutMs - this.#monotonicMs());
  }

  /** What is still awaited, for a log line. */
  awaited(owner: string): { creations: string[]; deletions: string[] } {
    const pending = this.#pending.get(owner);
    return { creations: [...(pending?.creations ?? [])], deletions: [...(pending?.deletions ?? [])] };
  }

  /** The owner is gone. */
  forget(owner: string): void {
    this.#pending.delete(owner);
  }

  /** Announcements whose time has passed are dropped, so that a lost event does not burden the next ones. */
  #announce(owner: string): Pending {
    const now = this.#monotonicMs();
    let pending = this.satisfied(owner) ? undefined : this.#pending.get(owner);
    pending ??= { creations: new Set(), deletions: new Set(), announcedAtMs: now };
    pending.announcedAtMs = now;
    this.#pending.set(owner, pending);
    return pending;
  }

  #settle(owner: string): void {
    const pending = this.#pending.get(owner);
    if (pending !== undefined && pending.creations.size + pending.deletions.size === 0)
      this.#pending.delete(owner);
  }
}
