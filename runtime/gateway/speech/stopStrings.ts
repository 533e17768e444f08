/**
 * Ends text at the first stop string. Text that may turn out to be the start of one is held back until that is
 * known, so that a stream never shows a part of a stop string.
 */

export interface StopStep {
  /** Text that is safe to show now. */
  readonly text: string;
  /** Whether a stop string was met; nothing may follow. */
  readonly stopped: boolean;
}

export interface StopFilter {
  push(text: string): StopStep;
  /** What was held back, once the text has ended without a stop string. */
  flush(): string;
}

export function stopFilter(stops: readonly string[]): StopFilter {
  let held = "";
  return {
    push(text) {
      held += text;
      const cut = firstStop(held, stops);
      if (cut >= 0) {
        const shown = held.slice(0, cut);
        held = "";
        return { text: shown, stopped: true };
      }
      const keep = longestStart(held, stops);
      const shown = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text: shown, stopped: false };
    },
    flush() {
      const rest = held;
      held = "";
      return rest;
    },
  };
}

/** Index at which the earliest stop string begins, or -1. */
function firstStop(text: string, stops: readonly string[]): number {
  const found = stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0);
  return found.length === 0 ? -1 : Math.min(...found);
}

/** Length of the longest end of `text` that begins a stop string. */
function longestStart(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length -= 1) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}
