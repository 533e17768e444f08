import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tinyDescriptor } from "../testing/tinyModel.ts";
import { cutText, mayCut } from "./cutText.ts";
import { createSpeech } from "./speech.ts";

describe("cutting a long text", () => {
  it("loses nothing and cuts between letters and spaces only", () => {
    expect(cutText("the cat sat on 2 mats", 5)).toEqual(["the cat", " sat on 2 mats"]);
    expect(cutText("a b c d", 1)).toEqual(["a", " b", " c", " d"]);
    expect(cutText("1 2 3 4", 1)).toEqual(["1 2 3 4"]);
    expect(cutText("", 1)).toEqual([""]);
  });

  it("leaves the ids as those of the whole", async () => {
    const word = fc.constantFrom(
      "the",
      "hello",
      "o",
      "42",
      "!",
      "\n",
      "  ",
      "ö",
      "🙂",
      "<|end|>",
      "STOP",
      "'s",
      "\ufeff",
    );
    const text = fc.array(word, { maxLength: 60 }).map((words) => words.join(" "));
    const inSlices = createSpeech(tinyDescriptor(), 4);
    const whole = createSpeech(tinyDescriptor(), Number.POSITIVE_INFINITY);
    await fc.assert(
      fc.asyncProperty(text, async (each) => {
        expect(await inSlices.promptIds(each)).toEqual(await whole.promptIds(each));
      }),
    );
  });

  it("is left alone where it would change the ids", () => {
    const { tokenizer } = tinyDescriptor();
    expect(mayCut(tokenizer)).toBe(true);
    const added = { content: "<begin of text>", rstrip: false };
    expect(mayCut({ ...tokenizer, added_tokens: [added] })).toBe(false);
    expect(mayCut({ ...tokenizer, added_tokens: [{ content: "<x>", rstrip: true }] })).toBe(false);
    expect(mayCut({ ...tokenizer, pre_tokenizer: { type: "Metaspace" } })).toBe(false);
  });
});
