import { expect, test } from "vitest";
import { countJUnit, countVitest } from "./report.ts";
import { execute } from "./stage.ts";

const report = { numPassedTests: 5, numFailedTests: 0, numPendingTests: 1, numFailedTestSuites: 0 };

test("vitest's counts are taken over", () => {
  expect(countVitest(JSON.stringify({ ...report, numFailedTests: 2 }))).toEqual({
    passed: 5,
    failed: 2,
    skipped: 1,
  });
});

test("a test file that could not be loaded counts as failed", () => {
  expect(countVitest(JSON.stringify({ ...report, numFailedTestSuites: 1 })).failed).toBe(1);
});

test("pytest's errors count as failures and skipped tests do not pass", () => {
  const xml = '<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10">';
  expect(countJUnit(xml)).toEqual({ passed: 4, failed: 3, skipped: 3 });
});

test("a report without counts is refused", () => {
  expect(() => countJUnit("<nothing/>")).toThrow(/testsuite/);
});

test("a command past its deadline is killed and reported as 124", async () => {
  const status = await execute({ argv: ["sleep", "30"], cwd: "/", deadlineMs: 50 });
  expect(status).toBe(124);
});
