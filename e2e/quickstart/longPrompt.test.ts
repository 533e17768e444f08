import { expect, test } from "vitest";
import { longPrompt } from "./longPrompt.ts";

test("the prompt is the same on every run, and its days differ", () => {
  expect(longPrompt()).toBe(longPrompt());
  const days = longPrompt()
    .split("\n")
    .filter((line) => line.startsWith("Day"))
    .map((line) => line.replace(/^Day \d+/, ""));
  expect(new Set(days).size).toBeGreaterThan(40);
});
