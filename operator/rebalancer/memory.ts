/** What the rebalancer remembers of each pool between two looks. Losing it loses nothing but what was told. */
import type { MoveState } from "../../runtime/wire/schema/move.ts";
import type { Move } from "../planning/rebalance/move.ts";

/** A move that is over, with the pool's last word on it if it gave one. */
export interface EndedMove {
  readonly move: Move;
  readonly report: MoveState | undefined;
}

export interface PoolMemory {
  /** Rank that answered last as the coordinator: whom to ask first. */
  coordinator: string | undefined;
  /** Reason that was told last. */
  toldReason: string | undefined;
  /** Looks in a row at which something stood in the way. */
  hindered: number;
  /** When a full record was kept last. */
  recordedAtMs: number;
  /** By moveId, those whose record was given back to a state store that did not say that it took it. */
  readonly ending: Map<string, EndedMove>;
}

export class PoolMemories {
  readonly #memories = new Map<string, PoolMemory>();

  of(poolUid: string): PoolMemory {
    const known = this.#memories.get(poolUid);
    if (known !== undefined) return known;
    const told = { toldReason: undefined, hindered: 0, recordedAtMs: 0 };
    const fresh = { coordinator: undefined, ...told, ending: new Map<string, EndedMove>() };
    this.#memories.set(poolUid, fresh);
    return fresh;
  }

  forget(poolUid: string): void {
    this.#memories.delete(poolUid);
  }
}
