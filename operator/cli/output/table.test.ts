import { describe, expect, it } from "vitest";
import { age } from "./age.ts";
import { paintWith, table } from "./table.ts";

const rows = [
  ["a", { text: "True", tone: "good" as const }, "x"],
  ["long name", { text: "False", tone: "bad" as const }, ""],
];

describe("a table", () => {
  it("lines its columns up and ends no line with blanks", () => {
    expect(table(["NAME", "READY", "NOTE"], rows, paintWith(false))).toBe(
      "NAME       READY  NOTE\na          True   x\nlong name  False",
    );
  });

  it("is as wide in colours as without", () => {
    const coloured = table(["NAME", "READY", "NOTE"], rows, paintWith(true));
    expect(coloured).toContain("\u001b[32mTrue\u001b[0m");
    const bare = coloured.replaceAll(new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, "g"), "");
    expect(bare).toBe(table(["NAME", "READY", "NOTE"], rows, paintWith(false)));
  });
});

it.each([
  [0, "0s"],
  [119_000, "119s"],
  [120_000, "2m"],
  [7_200_000, "2h"],
  [172_800_000, "2d"],
])("an age of %i ms is %s", (ms, text) => {
  expect(age("1970-01-01T00:00:00Z", ms)).toBe(text);
});

it("an age since no time is unknown", () => {
  expect(age(undefined, 0)).toBe("?");
});
