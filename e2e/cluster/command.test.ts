import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CommandError, run, succeeds } from "./command.ts";

test("input reaches the program, and its output comes back", async () => {
  expect(await run("cat", [], { input: "hello" })).toBe("hello");
});

test("a file can be the program's input", async () => {
  const folder = await mkdtemp(join(tmpdir(), "csps-command-test-"));
  try {
    await writeFile(join(folder, "in"), "from a file");
    expect(await run("cat", [], { inputFile: join(folder, "in") })).toBe("from a file");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a failure says what ran, how it ended and what it printed", async () => {
  const error = await run("sh", ["-c", "echo reason >&2; exit 3"]).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(CommandError);
  expect(error).toMatchObject({ exitCode: 3, output: "reason\n" });
  expect(String(error)).toContain("sh -c");
});

test("a program that does not end in time is killed", async () => {
  await expect(run("sleep", ["60"], { timeoutMs: 200 })).rejects.toThrow("did not end within 0.2 s");
});

test("a program that does not exist is an error, not a hang", async () => {
  expect(await succeeds("csps-no-such-program", [])).toBe(false);
});
