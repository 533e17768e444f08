import { mkdtemp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cachedFolder, contentKey, withLock } from "./cache.ts";

let folder = "";
const before = process.env["CSPS_CACHE"];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "csps-cache-test-"));
  process.env["CSPS_CACHE"] = folder;
});

afterEach(async () => {
  if (before === undefined) delete process.env["CSPS_CACHE"];
  else process.env["CSPS_CACHE"] = before;
  await rm(folder, { recursive: true, force: true });
});

test("a thing is built once, however many ask for it at the same time", async () => {
  let builds = 0;
  const build = async (target: string): Promise<void> => {
    builds++;
    await writeFile(join(target, "thing"), "made");
  };
  const paths = await Promise.all([1, 2, 3].map(() => cachedFolder("thing", "0123456789abcdef", build)));
  expect(new Set(paths).size).toBe(1);
  expect(builds).toBe(1);
  expect(await readFile(join(paths[0] ?? "", "thing"), "utf8")).toBe("made");
});

test("a build that fails leaves nothing that looks complete", async () => {
  const fail = (): Promise<void> => Promise.reject(new Error("no space"));
  await expect(cachedFolder("thing", "0123456789abcdef", fail)).rejects.toThrow("no space");
  let builds = 0;
  await cachedFolder("thing", "0123456789abcdef", () => {
    builds++;
    return Promise.resolve();
  });
  expect(builds).toBe(1);
});

test("only the three versions that were used last are kept", async () => {
  const keys = ["1", "2", "3", "4", "5"].map((digit) => digit.repeat(16));
  for (const key of keys) await cachedFolder("thing", key, () => Promise.resolve());
  let rebuilt = 0;
  await cachedFolder("thing", keys[4] ?? "", () => {
    rebuilt++;
    return Promise.resolve();
  });
  expect(rebuilt).toBe(0);
  await cachedFolder("thing", keys[0] ?? "", () => {
    rebuilt++;
    return Promise.resolve();
  });
  expect(rebuilt).toBe(1);
});

test("a key changes with a file's content and with its name, and not with bytecode beside it", async () => {
  const tree = join(folder, "tree");
  await mkdir(join(tree, "__pycache__"), { recursive: true });
  await writeFile(join(tree, "a"), "one");
  const first = await contentKey({ paths: [tree] });
  await writeFile(join(tree, "__pycache__", "a.pyc"), "bytecode");
  expect(await contentKey({ paths: [tree] })).toBe(first);
  await writeFile(join(tree, "a"), "two");
  const second = await contentKey({ paths: [tree] });
  await rm(join(tree, "a"));
  await writeFile(join(tree, "b"), "two");
  const third = await contentKey({ paths: [tree] });
  expect(new Set([first, second, third]).size).toBe(3);
});

test("a lock whose owner is gone is taken over, a living owner's is not", async () => {
  const path = join(folder, "lock");
  await writeFile(path, "999999999");
  expect(await withLock(path, 30_000, () => Promise.resolve("mine"))).toBe("mine");
  await writeFile(path, String(process.pid));
  await expect(withLock(path, 300, () => Promise.resolve("mine"))).rejects.toThrow("still held");
});
