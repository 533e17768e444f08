import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const deadlineMs = 120_000;

function run(program: string, arg: string) {
  const file = join(import.meta.dirname, program);
  return spawnSync(process.execPath, [file, arg], { encoding: "utf8", timeout: deadlineMs });
}

describe.each(["benchAutoscaler.ts", "bench.ts", "calibrate/recordings.ts"])("%s", (program) => {
  it("prints how it is used and plays nothing", { timeout: deadlineMs }, () => {
    const { status, stdout } = run(program, "--help");
    expect(stdout).toMatch(/^usage: [^]*exit code: /);
    expect(status).toBe(0);
  });

  it("ends with status 2 and a sentence for a flag that there is not", { timeout: deadlineMs }, () => {
    const { status, stdout, stderr } = run(program, "--nothing");
    expect(stderr).toMatch(/^Unknown option '--nothing'[^]*usage: /);
    expect(stderr).not.toMatch(/^ +at /m);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  });
});

it("benchAutoscaler.ts ends with status 2 for a word that is in no title", { timeout: deadlineMs }, () => {
  const { status, stderr } = run("benchAutoscaler.ts", "nowhere");
  expect(stderr).toContain('No scenario has "nowhere" in its title.');
  expect(status).toBe(2);
});
