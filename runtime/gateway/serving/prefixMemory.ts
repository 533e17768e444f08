/**
 * Which pools hold the beginning of a prompt, as far as this gateway remembers from what it sent there. A guess that
 * only steers routing: what is really there is the pool's word, given with each reservation.
 */
import { pageKeys } from "../../wire/pageKeys.ts";

export interface PrefixMemory {
  /** Share of the keys, from the first on, that the pool was last seen to get; 0 to 1. */
  share(pool: string, keys: readonly string[]): number;
  /** The pool holds pages of these keys, or will when the prompt's prefill ends. */
  note(pool: string, keys: readonly string[]): void;
}

export interface KeptPrefixes extends PrefixMemory {
  /** The pool of each of the keys that were noted last, at most `count`, oldest first. */
  newest(count: number): Map<string, string>;
}

/** About 16 million tokens of prompts, in a few megabytes. */
const keptKeys = 250_000;

export function createPrefixMemory(limit: number = keptKeys): KeptPrefixes {
  const pools = new Map<string, string>();
  return {
    share(pool, keys) {
      const first = keys.findIndex((key) => pools.get(key) !== pool);
      return keys.length === 0 ? 0 : (first === -1 ? keys.length : first) / keys.length;
    },
    note(pool, keys) {
      for (const key of keys) {
        // Last in the map is last used.
        pools.delete(key);
        pools.set(key, pool);
      }
      for (const key of pools.keys()) {
        if (pools.size <= limit) break;
        pools.delete(key);
      }
    },
    newest: (count) => new Map([...pools].slice(-count)),
  };
}

/** Keys of one prompt, parted by its salt if it has one, in the forms of KV that pools hold, each computed once. */
export function keysOf(
  tokenIds: readonly number[],
  cacheSalt?: string,
): (kvFormat: string, pageTokens: number) => string[] {
  const known = new Map<string, string[]>();
  return (kvFormat, pageTokens) => {
    const form = `${kvFormat} ${String(pageTokens)}`;
    const keys = known.get(form) ?? pageKeys(kvFormat, tokenIds, pageTokens, cacheSalt);
    known.set(form, keys);
    return keys;
  };
}
