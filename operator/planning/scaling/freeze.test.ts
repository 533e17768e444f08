import { describe, expect, it } from "vitest";
import type { Demand, StoreTrouble } from "./decision.ts";
import { gpusOf } from "./fit.ts";
import { planScaling, replay } from "./plan.ts";
import { aDemand, anInput } from "./testing/builders.ts";
import { play } from "./testing/play.ts";

const away: StoreTrouble = { kind: "away", why: "the state store is full: OOM" };

function times(demand: Demand, factor: number): Demand {
  const classes = demand.classes.map((one) => ({
    ...one,
    arrivalsPerSecond: one.arrivalsPerSecond * factor,
  }));
  const arrivalsPerSecond = demand.decode.arrivalsPerSecond * factor;
  return { ...demand, classes, decode: { ...demand.decode, arrivalsPerSecond } };
}

const quiet = times(aDemand(), 0.05);
const busy = times(aDemand(), 20);

describe("while the state store is away", () => {
  it("nothing shrinks, however long the load is gone, and the refusal says what for", () => {
    const start = anInput({ store: away });
    const decisions = play(start, 13, () => quiet);
    expect(decisions.map(({ size }) => size)).toEqual(decisions.map(() => start.current));
    const refusal = decisions.at(-1)?.refusals.find(({ code }) => code === "StateStoreAway");
    expect(refusal?.sentence).toMatch(/^nothing shrinks to .*: the state store is full: OOM$/);
    for (const decision of decisions.slice(-1)) expect(replay(decision)).toEqual(decision);
  });

  it("what had to wait shrinks at the first look after it", () => {
    const last = play(anInput({ store: away }), 12, () => quiet).at(-1);
    if (last === undefined) throw new Error("no decision was made");
    const { input, memory, size } = last;
    const nowMs = input.nowMs + 30_000;
    const samples = input.samples.map((one) => ({ ...one, atMs: nowMs }));
    const after = planScaling({ ...input, nowMs, samples, memory, store: undefined });
    expect(gpusOf(input.cost, after.size)).toBeLessThan(gpusOf(input.cost, size));
  });

  it("what is needed grows all the same", () => {
    const stored = planScaling(anInput({ demand: busy }));
    expect(planScaling(anInput({ demand: busy, store: away })).size).toEqual(stored.size);
    expect(stored.size.groups).toBeGreaterThan(anInput().current.groups);
  });
});

it("a leader that a newer one has shut out keeps the size, whatever the load", () => {
  const store: StoreTrouble = { kind: "fenced", why: "another operator with a newer term decides on counts" };
  const { size, reasons } = planScaling(anInput({ demand: busy, store }));
  expect(size).toEqual(anInput().current);
  expect(reasons).toEqual([{ code: "Fenced", sentence: store.why }]);
});
