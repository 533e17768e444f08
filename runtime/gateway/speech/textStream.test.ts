import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { scriptOf, tinyDescriptor } from "../testing/tinyModel.ts";
import { createSpeech } from "./speech.ts";
import { textStream } from "./textStream.ts";
import { tokenTable } from "./tokenBytes.ts";

const speech = createSpeech(tinyDescriptor());

function decoded(ids: readonly number[]): { texts: string[]; last: string } {
  const stream = textStream(speech.table, []);
  const texts = ids.map((tokenId) => stream.push({ tokenId }).text);
  return { texts, last: stream.finish().text };
}

describe("text from tokens", () => {
  it("holds a character back until its last byte", () => {
    const ids = scriptOf("ö🙂").slice(0, -1);
    expect(decoded(ids)).toEqual({ texts: ["", "ö", "", "", "", "🙂"], last: "" });
  });

  it("marks a character that never ended", () => {
    const ids = scriptOf("🙂").slice(0, 2);
    expect(decoded(ids)).toEqual({ texts: ["", ""], last: "\ufffd" });
  });

  it("keeps a byte order mark and shows nothing of special tokens", () => {
    const { texts, last } = decoded([1, ...scriptOf("\ufeffa"), 2]);
    expect(texts.join("") + last).toBe("\ufeffa");
  });

  it("gives any text back that was encoded", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
        const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text));
        const { texts, last } = decoded(await speech.promptIds(whole));
        expect(texts.join("") + last).toBe(whole);
      }),
    );
  });

  it("gives each token out once, with the text that it begins in, and none that lies behind a stop string", () => {
    const stream = textStream(speech.table, ["STOP"]);
    const steps = scriptOf("aSTxSTOPb")
      .slice(0, -1)
      .map((tokenId) => stream.push({ tokenId }));
    expect(steps.map(({ text, tokens }) => [text, tokens.length]).slice(0, 8)).toEqual([
      ["a", 1],
      ["", 0],
      ["", 0],
      ["STx", 3],
      ["", 0],
      ["", 0],
      ["", 0],
      ["", 0],
    ]);
    expect(steps[7]?.stopped).toBe(true);
  });

  it("gives the tokens without text of their own out at the end", () => {
    const stream = textStream(speech.table, []);
    const ids = [97 + 3, 1];
    const tokens = ids.flatMap((tokenId) => stream.push({ tokenId }).tokens);
    expect([...tokens, ...stream.finish().tokens].map(({ tokenId }) => tokenId)).toEqual(ids);
  });
});

describe("the bytes of tokens", () => {
  it("are read from SentencePiece's spelling too", () => {
    const table = tokenTable({
      model: { vocab: { "\u2581the": 0, "<0xF0>": 1, ö: 2 } },
      decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Fuse" }] },
      added_tokens: [{ id: 3, content: "<tool>", special: false }],
    });
    const text = (id: number): string => new TextDecoder().decode(table.bytesOf(id));
    expect(text(0)).toBe(" the");
    expect([...table.bytesOf(1)]).toEqual([0xf0]);
    expect(text(2)).toBe("ö");
    expect(text(3)).toBe("<tool>");
    expect(text(99)).toBe("");
  });
});

describe("prompts", () => {
  it("start with BOS only where the model wants it, and chats as the template says", async () => {
    expect(await speech.promptIds("")).toEqual([]);
    expect(await createSpeech(tinyDescriptor({ addBos: true })).promptIds("a")).toEqual([1, 97 + 3]);
    const messages = [
      { role: "system" as const, content: "be brief" },
      { role: "user" as const, content: "hi" },
    ];
    expect(speech.chatPrompt(messages)).toBe("<|begin|>system: be brief\n<|begin|>user: hi\n<|answer|>");
    const ids = await speech.chatIds(messages);
    expect(ids.filter((id) => id === 1)).toHaveLength(2);
  });
});
