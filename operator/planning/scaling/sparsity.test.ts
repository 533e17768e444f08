import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Hardware } from "../cost/hardware.ts";
import { h100Nodes } from "../cost/gpus.ts";
import { llama8b } from "../cost/modelShape.ts";
import { deriveProfile } from "../cost/profile.ts";
import type { Demand, ScalingDecision, ScalingPolicy } from "./decision.ts";
import { planScaling, replay } from "./plan.ts";
import { costAt, highestLevel } from "./sparsity.ts";
import { aClass, aDecode, aDemand, anInput, aPolicy } from "./testing/builders.ts";
import { play } from "./testing/play.ts";

const selection = { kind: "blocks", budget: 0.2, blockTokens: 32, tailTokens: 64 } as const;
const sparse = { selection, denseUpToTokens: 2_048 };
/** Groups of eight, so that long prompts are spread over ranks. */
const policy = aPolicy({ sparse }, { groupSizes: [8] });
const current = { groups: 1, groupSize: 8, decodeRanks: 4 };

function load(perSecond: number): Demand {
  return aDemand({
    classes: [
      aClass("short", 4_000, perSecond),
      aClass("long", 60_000, perSecond),
      aClass("huge", 200_000, perSecond / 8),
    ],
    decode: aDecode({ arrivalsPerSecond: 0.1 }),
  });
}
function withLinks(hardware: Hardware, bytesPerSecond: number): Hardware {
  const link = { name: "any", bytesPerSecond, ringBytesPerSecond: bytesPerSecond, latencySeconds: 0 };
  return { ...hardware, nodeLink: link, networkLink: link };
}
const levelOf = ({ memory }: ScalingDecision) => memory.sparsity?.level ?? 0;
const ranksOf = ({ size }: ScalingDecision) => size.groups * size.groupSize;
const decide = (perSecond: number, of: ScalingPolicy = policy) =>
  planScaling(anInput({ current, policy: of, demand: load(perSecond) }));
const rates = fc.double({ min: 0.01, max: 4, noNaN: true });

describe("sparsity as a knob", () => {
  it("is raised before ranks are added, and then stays at its cap", () => {
    const decisions = Array.from({ length: 60 }, (_, index) => decide(0.05 * (index + 1)));
    const raised = decisions.findIndex((one) => levelOf(one) > 0);
    const grown = decisions.findIndex((one) => ranksOf(one) > 8);
    expect(raised).toBeGreaterThan(0);
    expect(grown).toBeGreaterThan(raised);
    for (const one of decisions.slice(grown)) expect(levelOf(one)).toBe(highestLevel(policy));
    const exact = Array.from({ length: 60 }, (_, index) =>
      decide(0.05 * (index + 1), { ...policy, sparse: undefined }),
    );
    expect(exact.findIndex((one) => ranksOf(one) > 8)).toBeLessThan(grown);
  });

  it("thins the longest prompts first, and none that the deployment keeps exact", () => {
    const { cost } = anInput();
    const at = (level: number) => costAt(anInput({ policy, cost }), level).sparse?.denseUpToTokens;
    expect([0, 1, 2, 3].map(at)).toEqual([undefined, 65_536, 8_192, 2_048]);
    const kept = { ...policy, sparse: { ...sparse, denseUpToTokens: 100_000 } };
    expect(highestLevel(kept)).toBe(1);
    expect(costAt(anInput({ policy: kept, cost }), 1).sparse?.denseUpToTokens).toBe(100_000);
  });

  it("grows with load: ranks first to last, and the level where ranks are equal", () => {
    fc.assert(
      fc.property(rates, fc.double({ min: 1, max: 3, noNaN: true }), (perSecond, by) => {
        const [less, more] = [decide(perSecond), decide(perSecond * by)];
        expect(ranksOf(more)).toBeGreaterThanOrEqual(ranksOf(less));
        if (ranksOf(more) === ranksOf(less)) expect(levelOf(more)).toBeGreaterThanOrEqual(levelOf(less));
      }),
      { numRuns: 40 },
    );
  });

  it("comes to rest under constant load, within the cap, and each decision replays", () => {
    fc.assert(
      fc.property(rates, (perSecond) => {
        const decisions = play(anInput({ current, policy }), 40, () => load(perSecond));
        const last = decisions.slice(30).map((one) => [ranksOf(one), levelOf(one)].join());
        expect(new Set(last).size).toBe(1);
        for (const one of decisions) {
          expect(levelOf(one)).toBeLessThanOrEqual(highestLevel(policy));
          expect(one.sparseAboveTokens ?? Infinity).toBeGreaterThanOrEqual(sparse.denseUpToTokens);
          expect(replay(one)).toEqual(one);
        }
      }),
      { numRuns: 8 },
    );
  });

  it("is lowered after the window when load goes, before ranks are given up", () => {
    const decisions = play(anInput({ current, policy }), 80, (step) => load(step < 4 ? 3 : 0.05));
    const grown = decisions[3];
    if (grown === undefined) throw new Error("no decision was made");
    expect(levelOf(grown)).toBe(highestLevel(policy));
    const lowered = decisions.findIndex((one, step) => step > 3 && levelOf(one) === 0);
    const shrunk = decisions.findIndex((one, step) => step > 3 && ranksOf(one) < ranksOf(grown));
    expect(lowered).toBeGreaterThan(10);
    expect(shrunk).toBeGreaterThanOrEqual(lowered);
  });

  it("keeps ranks and a level where only thinning meets an objective", () => {
    const classes = [{ name: "huge", upToTokens: 1_048_576, ttftSeconds: 20 }];
    const thin = { selection: { ...selection, budget: 0.01 }, denseUpToTokens: 0 };
    const bounds = { groupSizes: [1, 2], groups: { min: 1, max: 4 } };
    const only = aPolicy({ classes, sparse: thin, stabilizationMs: 0 }, bounds);
    const demand = aDemand({ classes: [aClass("huge", 277_669, 0.001)] });
    const many = { groups: 4, groupSize: 2, decodeRanks: 4 };
    const exact = planScaling(anInput({ policy: { ...only, sparse: undefined }, demand }));
    expect(exact.reasons.map(({ code }) => code)).toContain("SLOInfeasible");
    for (const start of [{ ...many, groups: 1, groupSize: 1 }, many]) {
      const decisions = play(anInput({ current: start, policy: only }), 12, () => demand).slice(1);
      expect(new Set(decisions.map((one) => `${ranksOf(one)} ranks, level ${levelOf(one)}`))).toEqual(
        new Set(["2 ranks, level 1"]),
      );
    }
  });

  it("adds no ranks for what choosing of blocks costs where exact attention holds the load", () => {
    const thick = { selection: { ...selection, budget: 0.99 }, denseUpToTokens: 0 };
    const classes = [{ name: "one", upToTokens: 1_048_576, ttftSeconds: 0.2 }];
    const sizes = { groupSizes: [8], groups: { min: 1, max: 8 } };
    const demand = aDemand({
      classes: [aClass("one", 30_000, 2.6)],
      decode: aDecode({ arrivalsPerSecond: 0.1 }),
    });
    for (const knob of [undefined, thick]) {
      const decision = planScaling(
        anInput({ current, demand, policy: aPolicy({ classes, sparse: knob }, sizes) }),
      );
      expect(decision.size.groups).toBe(1);
    }
  });

  it("stays exact where no prompt that comes would be faster for it, however much comes", () => {
    const alone = { ...current, groupSize: 1 };
    const groups = { min: 1, max: 1 };
    const single = aPolicy({ sparse }, { groupSizes: [1], groups });
    expect(levelOf(planScaling(anInput({ current: alone, policy: single, demand: load(40) })))).toBe(0);
    const full = aPolicy({ sparse }, { groupSizes: [8], groups });
    const short = aDemand({ classes: [aClass("short", 1_000, 4_000)], decode: aDecode() });
    const long = aDemand({ classes: [aClass("huge", 200_000, 4_000)], decode: aDecode() });
    const at = (demand: Demand) => levelOf(planScaling(anInput({ current, policy: full, demand })));
    expect([at(short), at(long)]).toEqual([0, highestLevel(full)]);
  });

  it("leaves it to ranks whether it pays where links' time is not known, but for prompts that none would thin", () => {
    const derived = deriveProfile(llama8b, h100Nodes, 1);
    // As of slow links: all that was measured grows with the length, and choosing blocks seems to cost more than it saves.
    const law = { ...derived.law, secondsPerToken: 1e-3, secondsPerTokenSquared: 0 };
    const cost = { ...derived, hardware: withLinks(derived.hardware, 1e15), law };
    const groups = { min: 1, max: 1 };
    const at = (tokens: number, groupSize: number, measured: object) =>
      levelOf(
        planScaling(
          anInput({
            cost: { ...cost, ...measured },
            current: { ...current, groupSize },
            policy: aPolicy({ sparse }, { groupSizes: [groupSize], groups }),
            demand: aDemand({ classes: [aClass("one", tokens, 40)], decode: aDecode() }),
          }),
        ),
      );
    expect(at(4_000, 8, {})).toBe(0);
    const unknown = { linksInLaw: true };
    expect([at(4_000, 8, unknown), at(4_000, 1, unknown), at(2_000, 8, unknown)]).toEqual([
      highestLevel(policy),
      0,
      0,
    ]);
  });

  it("says so, and leaves prompts exact where the deployment has no such knob", () => {
    const raised = Array.from({ length: 60 }, (_, index) => decide(0.05 * (index + 1))).find(
      (one) => levelOf(one) > 0,
    );
    expect(raised?.reasons.map(({ sentence }) => sentence).join()).toMatch(
      /prompts above \d+ tokens is sparse/,
    );
    const without = decide(1, { ...policy, sparse: undefined });
    expect(without.sparseAboveTokens).toBeUndefined();
    expect(without.memory.sparsity).toBeUndefined();
  });
});
