import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { argumentsOf, keysOf, loadVerbs, type Verb, verbNames } from "./verbs.ts";

const verbs = Object.entries(loadVerbs());
const files = readdirSync(join(import.meta.dirname, "verbs")).sort();

/** Without comments, which name what the script does not. */
const codeOf = ({ lua }: Verb): string => lua.replaceAll(/--.*$/gm, "");
const indexesOf = (verb: Verb, list: "KEYS" | "ARGV"): number[] =>
  [
    ...new Set(
      [...codeOf(verb).matchAll(new RegExp(`${list}\\[(\\d+)\\]`, "g"))].map(([, at]) => Number(at)),
    ),
  ].sort((a, b) => a - b);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

it("has one script and one descriptor for each verb, and no other file", () => {
  expect(files).toEqual([...verbNames].flatMap((name) => [`${name}.json`, `${name}.lua`]).sort());
});

describe.each(verbs)("%s", (name, verb) => {
  const { descriptor } = verb;

  it("is described under its own name, with the keys that its script's header names, in order", () => {
    expect(descriptor.verb).toBe(name);
    const header = /^-- KEYS: (.*(?:\n--   .*)*)/m.exec(verb.lua)?.[1] ?? "";
    const named = header.replaceAll(/\([^)]*\)/g, "").split(",");
    expect(named.map((one) => one.trim())).toEqual(descriptor.keys);
  });

  it("uses every declared key and argument and no other, and names no key itself", () => {
    const all = codeOf(verb).includes("unpack(KEYS)");
    if (!all) expect(indexesOf(verb, "KEYS")).toEqual(upTo(descriptor.keys.length));
    expect(indexesOf(verb, "ARGV")).toEqual(upTo(descriptor.args.length));
    expect(codeOf(verb)).not.toMatch(/csps:|redis\.call\("\w+", "/);
  });

  it("replies with the tags that are described", () => {
    const tags = [...codeOf(verb).matchAll(/(?:return|reply =) \{ "(\w+)"/g)].map(([, tag]) => tag);
    expect(new Set(tags)).toEqual(new Set(descriptor.replies.map(({ tag }) => tag)));
  });

  it("writes when it says so, never by Redis' own clock", () => {
    const writes = /redis\.call\("(?:SET|DEL|HSET|HDEL|ZADD|ZREM\w*)"/.test(codeOf(verb));
    expect(writes).toBe(descriptor.writes);
    expect(codeOf(verb)).not.toMatch(/"TIME"|os\.time/);
  });

  it("has all of its keys in one slot", () => {
    for (const key of keysOf(descriptor, "ns/d")) expect(key).toMatch(/^csps:\{ns\/d\}:\w+$/);
  });
});

it("refuses an argument of another type by its name", () => {
  const { descriptor } = loadVerbs().fence_check;
  expect(() => argumentsOf(descriptor, { fence: "1" })).toThrow(
    'fence_check: fence has to be of type integer, not "1"',
  );
  expect(() => argumentsOf(descriptor, {})).toThrow("fence");
});
