/** Breaks a call off when its rank is not seen any more: a dead pod's connection may stay open for minutes. */
import type { RankView } from "../ranks/rankView.ts";

export interface RankWatch {
  /** Aborted with the outer signal, and when the rank has not been seen for `unseenMs`. */
  readonly signal: AbortSignal;
  stop(): void;
}

const lookEveryMs = 500;

export function watchRank(
  view: RankView,
  rank: { readonly rankId: string; readonly incarnation: string },
  unseenMs: number,
  outer: AbortSignal,
): RankWatch {
  const controller = new AbortController();
  const timer = setInterval(() => {
    if (view.unseenMs(rank) > unseenMs) controller.abort();
  }, lookEveryMs);
  return {
    signal: AbortSignal.any([outer, controller.signal]),
    stop() {
      clearInterval(timer);
    },
  };
}
