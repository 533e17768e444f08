import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { h100Nodes } from "./gpus.ts";
import { llama8b } from "./modelShape.ts";
import { deriveProfile, prefillSeconds, type PrefillLaw } from "./profile.ts";
import { refittedLaw, refitWith, startRefit, type PrefillReport } from "./refit.ts";

const profile = deriveProfile(llama8b, h100Nodes, 1);
const slower: PrefillLaw = {
  fixedSeconds: profile.law.fixedSeconds * 3,
  secondsPerToken: profile.law.secondsPerToken * 1.4,
  secondsPerTokenSquared: profile.law.secondsPerTokenSquared * 0.8,
};
const lengths = [256, 2_048, 12_000, 90_000, 700, 30_000, 131_072, 5_000];

function reportOf(law: PrefillLaw, index: number, noise = 1): PrefillReport {
  const tokens = lengths[index % lengths.length] ?? 1;
  const degree = 2 ** (index % 4);
  return { tokens, degree, seconds: prefillSeconds({ ...profile, law }, tokens, degree) * noise };
}

function learn(reports: readonly PrefillReport[], start = startRefit(profile.law)) {
  return reports.reduce((state, report) => refitWith(state, profile, report), start);
}

const errorOn = (law: PrefillLaw, truth: PrefillLaw): number =>
  Math.max(
    ...lengths.map((tokens) => {
      const real = prefillSeconds({ ...profile, law: truth }, tokens, 4);
      return Math.abs(prefillSeconds({ ...profile, law }, tokens, 4) - real) / real;
    }),
  );

describe("refitWith", () => {
  it("finds another machine's law from a hundred reports", () => {
    const state = learn(Array.from({ length: 100 }, (_, index) => reportOf(slower, index)));
    expect(state.accepted).toBe(100);
    expect(errorOn(profile.law, slower)).toBeGreaterThan(0.2);
    expect(errorOn(refittedLaw(state), slower)).toBeLessThan(0.02);
  });

  it("stays within a few percent under five percent of noise", () => {
    const noise = (index: number) => 1 + 0.05 * Math.sin(index * 12.9898);
    const state = learn(Array.from({ length: 400 }, (_, index) => reportOf(slower, index, noise(index))));
    expect(errorOn(refittedLaw(state), slower)).toBeLessThan(0.05);
  });

  it("finds the law of exact attention from prompts that were thinned", () => {
    const selection = { kind: "blocks", budget: 0.2, blockTokens: 32, tailTokens: 64 } as const;
    const sparse = { ...profile, sparse: { selection, denseUpToTokens: 8_192 } };
    const reports = Array.from({ length: 100 }, (_, index) => {
      const { tokens, degree } = reportOf(slower, index);
      return { tokens, degree, seconds: prefillSeconds({ ...sparse, law: slower }, tokens, degree) };
    });
    const state = reports.reduce((sum, one) => refitWith(sum, sparse, one), startRefit(profile.law));
    expect(errorOn(refittedLaw(state), slower)).toBeLessThan(0.02);
  });

  it("forgets a law that no longer holds", () => {
    const before = learn(Array.from({ length: 300 }, (_, index) => reportOf(slower, index)));
    const after = learn(
      Array.from({ length: 300 }, (_, index) => reportOf(profile.law, index)),
      before,
    );
    expect(errorOn(refittedLaw(after), profile.law)).toBeLessThan(0.03);
  });

  it("keeps a usable law whatever is reported", () => {
    const anything = fc.record({ tokens: fc.double(), degree: fc.double(), seconds: fc.double() });
    const plausible = fc.record({
      tokens: fc.integer({ min: 1, max: 1_000_000 }),
      degree: fc.constantFrom(1, 2, 8),
      seconds: fc.double({ min: 1e-4, max: 1e4, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(fc.oneof(anything, plausible), { maxLength: 60 }), (reports) => {
        const state = learn(reports);
        expect(state.accepted + state.refused).toBe(reports.length);
        for (const coefficient of Object.values(refittedLaw(state))) {
          expect(Number.isFinite(coefficient)).toBe(true);
          expect(coefficient).toBeGreaterThan(0);
        }
      }),
    );
  });

  it("refuses reports that can't be true", () => {
    const state = learn([
      { tokens: 1_000, degree: 1, seconds: Number.NaN },
      { tokens: 1_000, degree: 1, seconds: -1 },
      { tokens: 1_000, degree: 0, seconds: 1 },
      { tokens: 1_000, degree: 1, seconds: 1e6 },
    ]);
    expect(state).toEqual({ ...startRefit(profile.law), refused: 4 });
  });
});
