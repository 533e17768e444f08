/**
 * Where requests wait while a deployment that was scaled to zero wakes up: a bounded number, for a bounded time. The
 * operator sees them in the metrics and starts ranks.
 */
import { unavailable } from "../api/apiError.ts";
import type { RankView } from "../ranks/rankView.ts";
import type { DemandCount } from "./demandMetrics.ts";

export interface WaitingRoomSettings {
  readonly view: Pick<RankView, "groups" | "changed">;
  readonly demand: Pick<DemandCount, "waitingForRanks" | "coldStart">;
  /** A request waits at most so long; 0: nobody waits here, as there are always ranks or a fault. */
  readonly waitMs: number;
  readonly maxWaiting: number;
  readonly now: () => number;
}

export interface WaitingRoom {
  /** Returns when ranks serve; throws the refusal that the client is to see, or the signal's reason. */
  pass(signal: AbortSignal): Promise<void>;
}

const lookEveryMs = 500;

export function createWaitingRoom(settings: WaitingRoomSettings): WaitingRoom {
  const { view, demand, waitMs, maxWaiting, now } = settings;
  let waiting = 0;
  let sinceMs: number | undefined;

  /** A request takes one group and one pool whose KV fits it. */
  function open(): boolean {
    const groups = view.groups();
    const pools = groups.filter(({ role }) => role === "decode");
    return groups.some(
      (group) => group.role === "prefill" && pools.some((pool) => pool.kvFormat === group.kvFormat),
    );
  }

  async function untilOpen(signal: AbortSignal): Promise<void> {
    const deadlineMs = now() + waitMs;
    while (!open()) {
      const leftMs = deadlineMs - now();
      if (leftMs <= 0) {
        const seconds = Math.round(waitMs / 1000);
        throw unavailable(`No rank began to serve within ${String(seconds)} s; try again in a moment.`);
      }
      await view.changed(Math.min(lookEveryMs, leftMs), signal);
      signal.throwIfAborted();
    }
  }

  /** Once for all that waited. */
  function tellColdStart(): void {
    if (sinceMs !== undefined) demand.coldStart.observe((now() - sinceMs) / 1000);
    sinceMs = undefined;
  }

  return {
    async pass(signal) {
      if (waitMs === 0 || open()) return;
      if (waiting >= maxWaiting)
        throw unavailable(
          `${String(waiting)} requests already wait for ranks to start; try again later.`,
          10,
        );
      sinceMs ??= now();
      waiting += 1;
      demand.waitingForRanks.inc();
      try {
        await untilOpen(signal);
        tellColdStart();
      } finally {
        waiting -= 1;
        demand.waitingForRanks.dec();
        if (waiting === 0) sinceMs = undefined;
      }
    },
  };
}
