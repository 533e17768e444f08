import { expect, it } from "vitest";
import { classOf, parseLengthClasses } from "./lengthClass.ts";

it.each([
  ["", [{ name: "all", upToTokens: Number.MAX_SAFE_INTEGER }]],
  [
    "short:10,long:20",
    [
      { name: "short", upToTokens: 10 },
      { name: "long", upToTokens: 20 },
    ],
  ],
  [
    "short:10:500,long:20",
    [
      { name: "short", upToTokens: 10, ttftMs: 500 },
      { name: "long", upToTokens: 20 },
    ],
  ],
  ["short:10:0", undefined],
  ["long:20,short:10", undefined],
  ["short", undefined],
  ["short:0", undefined],
])("takes %j for the classes that it names", (text, classes) => {
  expect(parseLengthClasses(text)).toEqual(classes);
  if (classes !== undefined) expect(classOf(classes, 11)).toBe(classes.at(-1));
});
