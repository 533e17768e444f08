import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cachedFolder, contentKey, withLock } from "./cache.ts";

const module = join(import.meta.dirname, "cache.ts");
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

/** A process that holds the lock `path`; resolves when it does. */
async function holder(path: string): Promise<ChildProcess> {
  const script = `
    const { withLock } = await import(${JSON.stringify(module)});
    await withLock(${JSON.stringify(path)}, 30_000, () => {
      process.stdout.write("held");
      return new Promise((resolve) => setTimeout(resolve, 600_000));
    });
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

test("a lock is taken over when its process is killed, and not while that lives", async () => {
  const path = join(folder, "lock");
  const owner = await holder(path);
  await expect(withLock(path, 300, () => Promise.resolve("mine"))).rejects.toThrow(
    `${path} is still held by process ${String(owner.pid)}`,
  );
  owner.kill("SIGKILL");
  expect(await withLock(path, 30_000, () => Promise.resolve("mine"))).toBe("mine");
});

test("of two processes that find the locks of a dead one at the same moment, one holds each at a time", async () => {
  const rounds = 50;
  const deadlineMs = 240_000;
  for (let round = 0; round < rounds; round++) await writeFile(join(folder, `lock-${round}`), "999999999");
  const taker = (me: number): string => `
    import { existsSync, openSync, rmSync, writeFileSync } from "node:fs";
    import { setTimeout as setTimer } from "node:timers";
    import { setTimeout as sleep } from "node:timers/promises";
    const { withLock } = await import(${JSON.stringify(module)});
    // Also where the one that runs this test is gone.
    setTimer(() => process.exit(1), ${deadlineMs}).unref();
    for (let round = 0; round < ${rounds}; round++) {
      const at = (name) => ${JSON.stringify(folder)} + "/" + name + "-" + round;
      writeFileSync(at("ready-${me}"), "");
      while (!existsSync(at("ready-${1 - me}"))) await sleep(0);
      await withLock(at("lock"), 30_000, async () => {
        openSync(at("holds"), "wx");
        await sleep(5);
        rmSync(at("holds"));
      });
    }
  `;
  const run = promisify(execFile);
  await Promise.all(
    [0, 1].map((me) =>
      run(process.execPath, ["--input-type=module", "--eval", taker(me)], { timeout: deadlineMs }),
    ),
  );
}, 90_000);
