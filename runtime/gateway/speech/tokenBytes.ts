/**
 * The bytes that each token stands for. Text is made from bytes, not from decoded tokens, because a token may
 * hold a part of a character only.
 */
import type { ModelDescriptor } from "../../wire/schema/model.ts";
import { z } from "zod";

const parts = z.object({
  model: z.object({ vocab: z.record(z.string(), z.int()) }),
  decoder: z.object({ type: z.string() }).loose().nullish(),
  added_tokens: z.array(z.object({ id: z.int(), content: z.string(), special: z.boolean() })).default([]),
});

export interface TokenTable {
  /** Bytes of a token's text; none for special tokens and ids outside the vocabulary. */
  bytesOf(tokenId: number): Uint8Array;
  /** Special tokens have a name and no text. */
  specialName(tokenId: number): string | undefined;
}

const nothing = new Uint8Array(0);
const utf8 = new TextEncoder();

/** Reads vocabulary and decoder of a tokenizer.json; throws when they are of a kind that is not known here. */
export function tokenTable(tokenizer: ModelDescriptor["tokenizer"]): TokenTable {
  const { model, decoder, added_tokens: added } = parts.parse(tokenizer);
  const special = new Map(added.filter((token) => token.special).map((token) => [token.id, token.content]));
  const written = new Map(
    added.filter((token) => !token.special).map((token) => [token.id, utf8.encode(token.content)]),
  );
  const spelling = new Map(Object.entries(model.vocab).map(([token, id]) => [id, token]));
  const read = JSON.stringify(decoder ?? {}).includes('"ByteLevel"') ? byteLevelBytes() : sentencePieceBytes;
  const cache = new Map<number, Uint8Array>();

  function bytesOf(tokenId: number): Uint8Array {
    if (special.has(tokenId)) return nothing;
    const ready = written.get(tokenId) ?? cache.get(tokenId);
    if (ready !== undefined) return ready;
    const token = spelling.get(tokenId);
    const bytes = token === undefined ? nothing : read(token);
    cache.set(tokenId, bytes);
    return bytes;
  }

  return { bytesOf, specialName: (tokenId) => special.get(tokenId) };
}

/**
 * Byte-level BPE spells each byte as one letter: printable Latin-1 as itself, the others as letters from U+0100
 * on, in order (GPT-2's bytes_to_unicode).
 */
function byteLevelBytes(): (token: string) => Uint8Array {
  const byteOf = new Map<number, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte += 1) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    byteOf.set(printable ? byte : next, byte);
    if (!printable) next += 1;
  }
  return (token) => Uint8Array.from(token, (letter) => byteOf.get(letter.charCodeAt(0)) ?? 0x3f);
}

/** SentencePiece spells a space as U+2581 and a lone byte as <0xNN>. */
function sentencePieceBytes(token: string): Uint8Array {
  const lone = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
  return lone === undefined
    ? utf8.encode(token.replaceAll("\u2581", " "))
    : Uint8Array.of(Number.parseInt(lone, 16));
}
