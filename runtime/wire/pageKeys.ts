/**
 * Keys of KV pages: the key of page i stands for all tokens up to the page's end and for the form of the KV.
 *
 *     key(-1) = kvFormat as UTF-8;   key(i) = first 16 bytes of SHA-256(key(i-1), tokens of page i as uint32 LE)
 *
 * With a salt the chain starts at kvFormat and, after it, SHA-256(salt as UTF-8): no key is one of another salt's.
 * Equal keys mean equal KV, so that prompts that begin alike may share pages. csps_engine/core/page_keys.py computes
 * the same; pageKeys.golden.json holds both to it.
 */
import { createHash } from "node:crypto";

const keyBytes = 16;

/** Keys of the full pages of a prompt, in order, as hexadecimal digits; a salt parts it from prompts without it. */
export function pageKeys(
  kvFormat: string,
  tokenIds: readonly number[],
  pageTokens: number,
  cacheSalt?: string,
): string[] {
  const keys: string[] = [];
  let before: Buffer = Buffer.from(kvFormat, "utf8");
  if (cacheSalt !== undefined)
    before = Buffer.concat([before, createHash("sha256").update(cacheSalt, "utf8").digest()]);
  for (let end = pageTokens; end <= tokenIds.length; end += pageTokens) {
    const page = Buffer.alloc(4 * pageTokens);
    for (let i = 0; i < pageTokens; i += 1) page.writeUInt32LE(tokenIds[end - pageTokens + i] ?? 0, 4 * i);
    before = createHash("sha256").update(before).update(page).digest().subarray(0, keyBytes);
    keys.push(before.toString("hex"));
  }
  return keys;
}
