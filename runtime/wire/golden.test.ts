/** The golden messages are read here and by runtime/engine/tests/test_wire_golden.py: both must agree. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { messages, type MessageName } from "./schema/messages.ts";

const golden = z.object({
  valid: z.array(z.json()).min(1),
  invalid: z.array(z.object({ why: z.string(), message: z.json() })).min(1),
});
const folder = new URL("golden/", import.meta.url);
const names = Object.keys(messages) as MessageName[];

function read(name: string): z.infer<typeof golden> {
  return golden.parse(JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8")));
}

it("has one golden file for each message and no other", () => {
  const files = readdirSync(folder).map((file) => file.replace(/\.json$/, ""));
  expect(files.sort()).toEqual([...names].sort());
});

describe.each(names)("%s", (name) => {
  const { valid, invalid } = read(name);

  it.each(valid)("keeps a valid message unchanged: %j", (message) => {
    expect(messages[name].parse(message)).toEqual(message);
  });

  it.each(invalid)("refuses an invalid one: $why", ({ message }) => {
    expect(messages[name].safeParse(message).success).toBe(false);
  });
});
