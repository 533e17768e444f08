import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stopFilter } from "./stopStrings.ts";

/** What a client sees of pieces, step by step. */
function shown(pieces: readonly string[], stops: readonly string[]): { steps: string[]; stopped: boolean } {
  const filter = stopFilter(stops);
  const steps: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = filter.push(piece);
    steps.push(text);
    if (stopped) return { steps, stopped };
  }
  return { steps: [...steps, filter.flush()], stopped: false };
}

describe("stop strings", () => {
  it.each([
    { what: "within one piece", pieces: ["one STOP two"], stops: ["STOP"], steps: ["one "], stopped: true },
    {
      what: "over pieces",
      pieces: ["a S", "TO", "P b"],
      stops: ["STOP"],
      steps: ["a ", "", ""],
      stopped: true,
    },
    {
      what: "begun and not ended",
      pieces: ["a ST", "x"],
      stops: ["STOP"],
      steps: ["a ", "STx", ""],
      stopped: false,
    },
    { what: "at the end, begun", pieces: ["a ST"], stops: ["STOP"], steps: ["a ", "ST"], stopped: false },
    {
      what: "begun anew within itself",
      pieces: ["aa", "ab"],
      stops: ["aab"],
      steps: ["", "a"],
      stopped: true,
    },
    {
      what: "the earlier of two",
      pieces: ["x END STOP"],
      stops: ["STOP", "END"],
      steps: ["x "],
      stopped: true,
    },
    {
      what: "one that begins another",
      pieces: ["\n", "\nx"],
      stops: ["\n\n"],
      steps: ["", ""],
      stopped: true,
    },
    { what: "none", pieces: ["a", "b"], stops: [], steps: ["a", "b", ""], stopped: false },
  ])("are found $what", ({ pieces, stops, steps, stopped }) => {
    expect(shown(pieces, stops)).toEqual({ steps, stopped });
  });

  it("cut as the whole text would be cut, however it is broken into pieces", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "🙂"), maxLength: 12 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "🙂"), minLength: 1, maxLength: 4 }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 8 }), stops, (pieces, found) => {
        const whole = pieces.join("");
        const cuts = found.map((stop) => whole.indexOf(stop)).filter((index) => index >= 0);
        const { steps, stopped } = shown(pieces, found);
        expect(stopped).toBe(cuts.length > 0);
        // A text may end at a later stop string's start only if the earlier one was not whole yet.
        const text = steps.join("");
        expect(whole.startsWith(text)).toBe(true);
        expect(found.some((stop) => text.includes(stop))).toBe(false);
        if (!stopped) expect(text).toBe(whole);
      }),
    );
  });
});
