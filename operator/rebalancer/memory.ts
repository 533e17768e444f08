/** What the rebalancer remembers of each pool between two looks. Losing it loses nothing but what was told. */

export interface PoolMemory {
  /** Rank that answered last as the coordinator: whom to ask first. */
  coordinator: string | undefined;
  /** Reason that was told last. */
  toldReason: string | undefined;
  /** Looks in a row at which something stood in the way. */
  hindered: number;
  /** When a full record was kept last. */
  recordedAtMs: number;
}

export class PoolMemories {
  readonly #memories = new Map<string, PoolMemory>();

  of(poolUid: string): PoolMemory {
    const known = this.#memories.get(poolUid);
    if (known !== undefined) return known;
    const fresh = { coordinator: undefined, toldReason: undefined, hindered: 0, recordedAtMs: 0 };
    this.#memories.set(poolUid, fresh);
    return fresh;
  }

  forget(poolUid: string): void {
    this.#memories.delete(poolUid);
  }
}
