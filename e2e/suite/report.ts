/** Reads the counts out of the reports that vitest (JSON) and pytest (JUnit XML) write. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { type Command, type Count, execute, type Stage } from "./stage.ts";

const vitestReport = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numFailedTestSuites: z.int(),
});

/** A test file that can't even be loaded has no failed test, so failed suites count where no test failed. */
export function countVitest(json: string): Count {
  const report = vitestReport.parse(JSON.parse(json));
  const failed = report.numFailedTests > 0 ? report.numFailedTests : report.numFailedTestSuites;
  return { passed: report.numPassedTests, failed, skipped: report.numPendingTests };
}

export function countJUnit(xml: string): Count {
  const suite = /<testsuite\b[^>]*>/.exec(xml)?.[0];
  if (suite === undefined) throw new Error("the JUnit report has no <testsuite> element");
  const attribute = (name: string): number => {
    const value = new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1];
    if (value === undefined) throw new Error(`the JUnit report's <testsuite> has no attribute ${name}`);
    return Number(value);
  };
  const failed = attribute("failures") + attribute("errors");
  const skipped = attribute("skipped");
  return { passed: attribute("tests") - failed - skipped, failed, skipped };
}

/** A test runner that writes a report; no report, or a bad exit with a clean report, is a failure of its own. */
export function runner(
  name: string,
  needs: string,
  reportFile: string,
  count: (text: string) => Count,
  command: () => Promise<Command>,
): Stage {
  return {
    name,
    needs,
    run: async () => {
      const status = await execute(await command());
      const counted = count(readFileSync(reportFile, "utf8"));
      if (status !== 0 && counted.failed === 0) return { ...counted, failed: 1 };
      return counted;
    },
  };
}
