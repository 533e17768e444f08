import { expect, it } from "vitest";
import { standingOf, turnSeconds } from "./turn.ts";

it.each([
  { waited: 0, standing: "inTime" },
  { waited: 0.9, standing: "inTime" },
  { waited: 0.95, standing: "late" },
  { waited: 3.9, standing: "late" },
  { waited: 4, standing: "waitedLong" },
])("holds a prompt of 0.1 s that has waited for $waited of 1 s for $standing", ({ waited, standing }) => {
  expect(standingOf(waited, 0.1, 1)).toBe(standing);
});

it("lets short prompts pass long ones that came little before", () => {
  expect(turnSeconds(1, 0.1)).toBeLessThan(turnSeconds(0, 1));
  expect(turnSeconds(2, 0.1)).toBeGreaterThan(turnSeconds(0, 1));
});
