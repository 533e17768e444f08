import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseDegree, degreeNow } from "./degree.ts";
import { h100Nodes } from "./gpus.ts";
import { llama8b } from "./modelShape.ts";
import { deriveProfile, prefillSeconds } from "./profile.ts";

const profile = deriveProfile(llama8b, h100Nodes, 1);

describe("chooseDegree", () => {
  it("takes no more ranks than being in time needs", () => {
    const slack = fc.double({ min: 0.01, max: 30, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500_000 }), slack, (tokens, slackSeconds) => {
        const choice = chooseDegree(profile, tokens, 8, slackSeconds);
        if (choice === undefined) throw new Error("the prompt fits eight ranks");
        expect(choice.inTime).toBe(choice.seconds <= slackSeconds);
        if (!choice.inTime || choice.degree === 1) return;
        expect(prefillSeconds(profile, tokens, choice.degree / 2)).toBeGreaterThan(slackSeconds);
      }),
    );
  });

  it("spends ranks on a long prompt that is late, not on a short one", () => {
    expect(chooseDegree(profile, 131_072, 8, 0)).toMatchObject({ degree: 8, inTime: false });
    expect(chooseDegree(profile, 64, 8, 0)).toMatchObject({ degree: 1, inTime: false });
  });

  it("refuses a prompt that fits no degree of the group", () => {
    expect(chooseDegree(profile, 20_000_000, 8, 1_000)).toBeUndefined();
  });
});

describe("degreeNow", () => {
  const long = 100_000;
  it("uses idle ranks when nobody else waits, and no more than are needed when somebody does", () => {
    const needed = chooseDegree(profile, long, 8, 5);
    expect(needed?.degree).toBeLessThan(8);
    expect(degreeNow(profile, long, { size: 8, free: 8, uncontended: true }, 5)).toBe(8);
    expect(degreeNow(profile, long, { size: 8, free: 8, uncontended: false }, 5)).toBe(needed?.degree);
  });

  it("waits for the ranks that bring it in time, and takes what is free once it is late", () => {
    const slack = prefillSeconds(profile, long, 8) * 1.01;
    expect(degreeNow(profile, long, { size: 8, free: 7, uncontended: false }, slack)).toBeUndefined();
    expect(degreeNow(profile, long, { size: 8, free: 7, uncontended: false }, 0.1)).toBe(4);
    expect(degreeNow(profile, long, { size: 8, free: 0, uncontended: true }, 0.1)).toBeUndefined();
  });
});
