/** Demand by length class, from the prompts that arrived and those that wait: tails for the objective, moments for work. */
import type { ClassDemand, LengthClass } from "./decision.ts";

/** Name of the class of a prompt; longer prompts than any class count to the last. */
export function classOf(classes: readonly LengthClass[], tokens: number): string | undefined {
  return (classes.find((one) => tokens <= one.upToTokens) ?? classes.at(-1))?.name;
}

export interface Observed {
  /** Lengths of the prompts that arrived in the window. */
  readonly arrivedTokens: readonly number[];
  /** Lengths of the prompts that wait now. */
  readonly queuedTokens: readonly number[];
  readonly windowSeconds: number;
}

export function demandByClass(classes: readonly LengthClass[], observed: Observed): readonly ClassDemand[] {
  const arrived = split(classes, observed.arrivedTokens);
  const queued = split(classes, observed.queuedTokens);
  return classes.map(({ name }) => {
    const own = arrived.get(name) ?? [];
    const waiting = queued.get(name) ?? [];
    const lengths = [...own, ...waiting].sort((a, b) => a - b);
    const mean = (of: (tokens: number) => number) =>
      lengths.length === 0 ? 0 : lengths.reduce((sum, tokens) => sum + of(tokens), 0) / lengths.length;
    return {
      name,
      arrivalsPerSecond: own.length / observed.windowSeconds,
      queued: waiting.length,
      p90Tokens: lengths[Math.ceil(0.9 * lengths.length) - 1] ?? 0,
      meanTokens: mean((tokens) => tokens),
      meanSquareTokens: mean((tokens) => tokens ** 2),
    };
  });
}

function split(classes: readonly LengthClass[], tokens: readonly number[]): Map<string, number[]> {
  const parts = new Map<string, number[]>();
  for (const length of tokens) {
    const name = classOf(classes, length);
    if (name === undefined) continue;
    const part = parts.get(name);
    if (part === undefined) parts.set(name, [length]);
    else part.push(length);
  }
  return parts;
}
