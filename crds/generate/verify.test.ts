import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { outputs } from "./outputs.ts";

it.each([...outputs()])("%s is what its schema generates", (path, text) => {
  expect(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")).toBe(text);
});
