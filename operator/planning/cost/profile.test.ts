import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeStep } from "./decode.ts";
import { h100Nodes, h200Nodes } from "./gpus.ts";
import { kvTokensOfRank, minimumDegree } from "./memory.ts";
import { cheaperMode } from "./mode.ts";
import { kvBytesPerToken, llama70b, llama8b, weightBytes } from "./modelShape.ts";
import { choosePieces, pipelinedSeconds, serialSeconds } from "./pipeline.ts";
import { prefillLayer, transferBytes } from "./prefillLayer.ts";
import { deriveProfile, efficiency, exposedSeconds, prefillSeconds } from "./profile.ts";

const small = deriveProfile(llama8b, h100Nodes, 1);
const large = deriveProfile(llama70b, h100Nodes, 4);
const profile = fc.constantFrom(small, large, deriveProfile(llama70b, h200Nodes, 8));
const tokens = fc.integer({ min: 1, max: 1_000_000 });
const degree = fc.constantFrom(1, 2, 4, 8, 16, 32);

describe("model shapes", () => {
  it("weigh what the models weigh", () => {
    expect(weightBytes(llama8b) / 2).toBeCloseTo(8.03e9, -8);
    expect(weightBytes(llama70b) / 2).toBeCloseTo(70.6e9, -9);
    expect(kvBytesPerToken(llama8b)).toBe(131_072);
  });
});

describe("prefillSeconds", () => {
  it("equals the layers' times on one rank, up to the output head", () => {
    for (const one of [small, large]) {
      const { model, hardware, tensorDegree } = one;
      const selection = { kind: "dense" } as const;
      for (const length of [512, 8192, 131_072]) {
        const layer = prefillLayer(model, hardware, {
          tokens: length,
          degree: 1,
          tensorDegree,
          mode: "allToAll",
          selection,
        });
        const difference = prefillSeconds(one, length, 1) - model.layers * layer.seconds;
        expect(difference).toBeGreaterThan(0);
        expect(difference).toBeLessThan(1e-3);
      }
    }
  });

  it("grows with the prompt", () => {
    fc.assert(
      fc.property(profile, tokens, tokens, degree, (one, a, b, ranks) => {
        const [shorter, longer] = a < b ? [a, b] : [b, a];
        expect(prefillSeconds(one, shorter, ranks)).toBeLessThanOrEqual(
          prefillSeconds(one, longer, ranks) * (1 + 1e-9),
        );
      }),
    );
  });

  it("never gains more from ranks than their number", () => {
    fc.assert(
      fc.property(profile, tokens, degree, (one, length, ranks) => {
        expect(efficiency(one, length, ranks)).toBeLessThanOrEqual(1 + 1e-9);
        expect(exposedSeconds(one, length, ranks)).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  it("makes eight ranks pay for long prompts and not for short ones", () => {
    expect(efficiency(small, 131_072, 8)).toBeGreaterThan(0.9);
    expect(efficiency(small, 512, 8)).toBeLessThan(0.5);
  });
});

describe("the pipeline", () => {
  const seconds = fc.double({ min: 1e-6, max: 1, noNaN: true });
  it("is never slower than the phases one after the other, and never faster than the longer of them", () => {
    fc.assert(
      fc.property(seconds, seconds, (transferSeconds, computeSeconds) => {
        const times = { transferSeconds, computeSeconds, latencySeconds: 2e-5, pieceSeconds: 1.5e-5 };
        const choice = choosePieces(times, { maxPieces: 64, minimumGain: 0 });
        expect(choice.seconds).toBeLessThanOrEqual(serialSeconds(times));
        expect(choice.seconds).toBeGreaterThanOrEqual(Math.max(transferSeconds, computeSeconds));
      }),
    );
  });

  it("finds a number of pieces within a sixth of the best of all", () => {
    fc.assert(
      fc.property(seconds, seconds, (transferSeconds, computeSeconds) => {
        const times = { transferSeconds, computeSeconds, latencySeconds: 2e-5, pieceSeconds: 1.5e-5 };
        const all = Array.from({ length: 63 }, (_, index) => pipelinedSeconds(times, index + 2));
        const best = Math.min(serialSeconds(times), ...all);
        expect(choosePieces(times, { maxPieces: 64, minimumGain: 0 }).seconds).toBeLessThanOrEqual(
          best * 1.16,
        );
      }),
    );
  });
});

describe("the exchange", () => {
  it("moves the bytes of the closed forms", () => {
    const shape = { tokens: 65_536, degree: 4, tensorDegree: 1, selection: { kind: "dense" } } as const;
    const row = 128 * 2;
    const local = 65_536 / 4;
    const exchanged = transferBytes(llama8b, { ...shape, mode: "allToAll" });
    expect(exchanged.bytesIn).toBe(local * 0.75 * (32 + 16) * row);
    expect(exchanged.bytesOut).toBe(local * 0.75 * 32 * (row + 4));
    const gathered = transferBytes(llama8b, { ...shape, mode: "kvGather" });
    expect(gathered.bytesIn).toBe(0.75 * 0.75 * 65_536 * 2 * 8 * row);
  });

  it("is a gather up to six ranks with four heads to a KV head, up to twelve with eight", () => {
    // Degrees that divide the heads: others leave no choice.
    expect([2, 4, 8, 16].map((ranks) => cheaperMode(llama8b, ranks, 1))).toEqual([
      "kvGather",
      "kvGather",
      "allToAll",
      "allToAll",
    ]);
    expect([2, 4, 8, 16].map((ranks) => cheaperMode(llama70b, ranks, 1))).toEqual([
      "kvGather",
      "kvGather",
      "kvGather",
      "allToAll",
    ]);
    expect(cheaperMode(llama8b, 6, 1)).toBe("kvGather");
  });
});

describe("decodeStep", () => {
  const load = fc.record({
    ranks: fc.integer({ min: 1, max: 16 }),
    tensorDegree: fc.constantFrom(1, 2, 4),
    requests: fc.integer({ min: 1, max: 512 }),
    contextTokens: fc.integer({ min: 1, max: 4_000_000 }),
  });

  it("grows with requests, with context and with imbalance", () => {
    fc.assert(
      fc.property(load, (one) => {
        const step = decodeStep(llama8b, h100Nodes, one).seconds;
        const more = [
          { requests: one.requests + 64 },
          { contextTokens: one.contextTokens * 2 },
          { imbalance: 1.5 },
        ];
        for (const change of more) {
          expect(decodeStep(llama8b, h100Nodes, { ...one, ...change }).seconds).toBeGreaterThanOrEqual(
            step * (1 - 1e-9),
          );
        }
      }),
    );
  });

  it("takes about the time that the weights need when one short request decodes", () => {
    const step = decodeStep(llama8b, h100Nodes, {
      ranks: 1,
      tensorDegree: 1,
      requests: 1,
      contextTokens: 100,
    });
    expect(step.seconds).toBeGreaterThan(weightBytes(llama8b) / 3.35e12);
    expect(step.seconds).toBeLessThan(8e-3);
  });

  it("is shortened by ranks when contexts are long, and lengthened when they are short", () => {
    const at = (ranks: number, contextTokens: number) =>
      decodeStep(llama8b, h100Nodes, { ranks, tensorDegree: 1, requests: 1, contextTokens }).seconds;
    expect(at(8, 512 * 1024)).toBeLessThan(at(1, 512 * 1024));
    expect(at(8, 1024)).toBeGreaterThan(at(1, 1024));
  });
});

describe("memory", () => {
  it("needs more ranks for longer prompts, and says when the weights alone are too large", () => {
    expect(minimumDegree(small, 8_192)).toBe(1);
    expect(minimumDegree(deriveProfile(llama70b, h100Nodes, 1), 1)).toBeUndefined();
    fc.assert(
      fc.property(tokens, tokens, (a, b) => {
        const [shorter, longer] = a < b ? [a, b] : [b, a];
        expect(minimumDegree(small, shorter) ?? Infinity).toBeLessThanOrEqual(
          minimumDegree(small, longer) ?? 0,
        );
      }),
    );
  });

  it("holds the KV of a million tokens on three ranks of an 8B model, not on two", () => {
    expect(kvTokensOfRank(small) * 3).toBeGreaterThan(1_000_000);
    expect(kvTokensOfRank(small) * 2).toBeLessThan(1_000_000);
  });
});
