import { describe, expect, it } from "vitest";
import { decodeStep } from "../cost/decode.ts";
import { kvTokensOfRank } from "../cost/memory.ts";
import { prefillSeconds } from "../cost/profile.ts";
import { type EngineReports, learn, nothingLearned, notYetLearned, profileOf } from "./learn.ts";
import { blocks } from "./policy.ts";

const facts = {
  name: "tiny",
  attentionHeads: 9,
  keyValueHeads: 3,
  tensorDegree: 1,
  kvTokensOfRank: 8_192,
};

/** A CPU: thousands of times slower than the stand-in, 2 ms a token and 50 ms a step. */
function reports(incarnation: string, numbers: readonly number[]): EngineReports {
  const lengths = [200, 700, 400, 1_000];
  return {
    incarnation,
    prefills: numbers.map((number) => {
      const tokens = lengths[number % lengths.length] ?? 0;
      return { number, tokens, degree: 2, seconds: 0.03 + (0.002 * tokens) / 2 };
    }),
    decodes: numbers.map((number) => ({ number, rows: 2, contextTokens: 800, ranks: 2, seconds: 0.05 })),
  };
}

describe("a cost profile from reports alone", () => {
  it("is not there before three prompts were reported", () => {
    const learned = learn(nothingLearned, facts, [reports("a", [0, 1])]);
    expect(notYetLearned(learned)).toContain("2 of 3 prompts");
    expect(notYetLearned(learn(learned, facts, [reports("a", [0, 1, 2])]))).toBeUndefined();
  });

  it("predicts what was measured, to a fifth, on hardware that nothing is known of", () => {
    const numbers = Array.from({ length: 32 }, (_, number) => number);
    const profile = profileOf(learn(nothingLearned, facts, [reports("a", numbers)]), facts);
    for (const tokens of [200, 1_000]) {
      const measured = 0.03 + (0.002 * tokens) / 2;
      expect(Math.abs(prefillSeconds(profile, tokens, 2) / measured - 1)).toBeLessThan(0.2);
    }
    const load = { ranks: 2, tensorDegree: 1, requests: 2, contextTokens: 800 };
    expect(decodeStep(profile.model, profile.hardware, load).seconds).toBeCloseTo(0.05);
  });

  it("holds as many tokens in a rank as its pages do", () => {
    for (const tensorDegree of [1, 2]) {
      const tokens = kvTokensOfRank(profileOf(nothingLearned, { ...facts, tensorDegree }));
      expect(tokens).toBeGreaterThanOrEqual(8_192);
      expect(tokens).toBeLessThan(8_192 + 4);
    }
  });

  it("takes each report once, also those of an incarnation that begins anew", () => {
    const once = learn(nothingLearned, facts, [reports("a", [0, 1, 2])]);
    const again = learn(once, facts, [reports("a", [0, 1, 2])]);
    expect(again).toEqual(once);
    const successor = learn(once, facts, [reports("b", [0, 1])]);
    expect(successor.refit?.accepted).toBe((once.refit?.accepted ?? 0) + 2);
    expect(Object.keys(successor.taken)).toEqual(["b"]);
  });

  it("learns the law of exact attention from thinned prompts too, whatever share of them there is", () => {
    const law = { fixedSeconds: 0.03, secondsPerToken: 0.002, secondsPerTokenSquared: 1e-6 };
    const exact = profileOf(nothingLearned, facts);
    const lengths = [800, 2_000, 4_000, 8_000];
    const mixed = Array.from({ length: 200 }, (_, number) => {
      const tokens = lengths[number % lengths.length] ?? 0;
      const thins = tokens >= 4_000 && number % 3 === 0;
      const sparse = { selection: { ...blocks, budget: 0.3 }, denseUpToTokens: 0 };
      const seconds = prefillSeconds({ ...exact, law, ...(thins && { sparse }) }, tokens, 4);
      return { number, tokens, degree: 4, seconds, ...(thins && { sparse: { fetchedShare: 0.3 } }) };
    });
    const off = (prefills: EngineReports["prefills"]) => {
      const learned = learn(nothingLearned, facts, [{ incarnation: "a", prefills, decodes: [] }]);
      return lengths.map((tokens) => {
        const foreseen = prefillSeconds(profileOf(learned, facts), tokens, 4);
        return Math.abs(foreseen / prefillSeconds({ ...exact, law }, tokens, 4) - 1);
      });
    };
    expect(Math.max(...off(mixed))).toBeLessThan(0.03);
    // Taken for exact ones they draw the law towards what thinned ones take.
    expect(Math.max(...off(mixed.map(({ sparse: _, ...report }) => report)))).toBeGreaterThan(0.1);
  });

  it("plans with what groups thin by themselves, and with exact attention where they may not", () => {
    const prefills = reports("a", [0, 1, 2, 3, 4, 5, 6, 7]).prefills.map((report) =>
      report.tokens < 700 ? report : { ...report, sparse: { fetchedShare: report.tokens / 2_000 } },
    );
    const learned = learn(nothingLearned, facts, [{ incarnation: "a", prefills, decodes: [] }]);
    expect(profileOf(learned, { ...facts, thins: true }).sparse).toEqual({
      selection: { ...blocks, budget: 0.5 },
      denseUpToTokens: 699,
    });
    expect(profileOf(learned, facts).sparse).toBeUndefined();
  });

  it("learns nothing from reports that can't be true", () => {
    const odd = { number: 9, tokens: 100, degree: 1, seconds: Number.NaN };
    expect(learn(nothingLearned, facts, [{ incarnation: "a", prefills: [odd], decodes: [] }]).first).toEqual(
      [],
    );
  });
});
