/**
 * A model small enough to read: a byte-level tokenizer with a few merges, and an answer that is a function of the
 * tokens alone, as a real model's is: the n-th token after the last answer mark is the n-th of the script.
 */
import type { ModelDescriptor } from "../../wire/schema/model.ts";

/** Special token that ends the prompts of these tests; the script follows it. */
export const answerMark = "<|answer|>";
const special = ["<|end|>", "<|begin|>", answerMark];

/** Letters that byte-level BPE spells bytes with, by byte. */
function byteLetters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    return String.fromCharCode(printable ? byte : next++);
  });
}

const merges = ["t h", "th e", "Ġ the", "l l", "o Ġ", "S T", "O P"];

export function tinyDescriptor(over: Partial<ModelDescriptor> = {}): ModelDescriptor {
  const tokens = [...special, ...byteLetters(), ...merges.map((merge) => merge.replace(" ", ""))];
  const split = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
  return {
    name: "tiny",
    architecture: "llama",
    contextLength: 512,
    vocabSize: tokens.length,
    bosTokenId: 1,
    eosTokenIds: [0],
    addBos: false,
    chatTemplate:
      "{% for m in messages %}{% if m.role == 'system' and not loop.first %}" +
      "{{ raise_exception('system has to come first') }}{% endif %}" +
      "{{ bos_token }}{{ m.role }}: {{ m.content }}\n{% endfor %}" +
      `{% if add_generation_prompt %}${answerMark}{% endif %}`,
    kvFormat: "kv-tiny",
    tokenizer: {
      version: "1.0",
      added_tokens: special.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: split }, behavior: "Isolated", invert: false },
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      model: {
        type: "BPE",
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: merges.map((merge) => merge.split(" ")),
      },
    },
    tokenizerConfig: { bos_token: "<|begin|>", eos_token: "<|end|>", clean_up_tokenization_spaces: false },
    ...over,
  };
}

/** Ids of a text, byte by byte, so that characters are split over tokens; then the end token. */
export function scriptOf(text: string): number[] {
  return [...new TextEncoder().encode(text)].map((byte) => byte + special.length).concat(0);
}

/** What follows `tokens` when the model has the script by heart. */
export function nextToken(tokens: readonly number[], script: readonly number[]): number {
  const mark = tokens.lastIndexOf(special.indexOf(answerMark));
  const said = tokens.length - 1 - mark;
  return script[said] ?? 0;
}
