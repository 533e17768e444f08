/**
 * What is expensive to make lives outside the checkout, under a name that is the hash of all that it is made
 * from: two checkouts share it, and a change of an input makes a new one instead of a stale one.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, realpath, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import type { Server } from "node:net";
import { homedir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { listening, nameWithoutFile } from "./listening.ts";

/** Folder of everything that is cached: `$CSPS_CACHE`, or `~/.cache/csps`. */
export function cacheRoot(): string {
  return process.env["CSPS_CACHE"] ?? join(homedir(), ".cache", "csps");
}

async function filesBelow(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const entries = await readdir(path, { withFileTypes: true });
  const nested = await Promise.all(
    entries
      .filter((entry) => entry.name !== "__pycache__" && !entry.name.endsWith(".pyc"))
      .map((entry) => filesBelow(join(path, entry.name))),
  );
  return nested.flat().sort();
}

/** Hash of texts and of files (a folder counts with every file below it, by relative path and content). */
export async function contentKey(inputs: { paths?: string[]; texts?: string[] }): Promise<string> {
  const hash = createHash("sha256");
  for (const text of inputs.texts ?? []) hash.update(`text ${text.length}\0${text}`);
  for (const path of inputs.paths ?? []) {
    for (const file of await filesBelow(path)) {
      const content = await readFile(file);
      hash.update(`file ${relative(path, file)} ${content.length}\0`).update(content);
    }
  }
  return hash.digest("hex").slice(0, 16);
}

const LOOK_MS = 50;

/**
 * Holds the lock `path` while `work` runs. It is held by a name that the system frees when its process ends, so that
 * no two take over a dead one's; the file tells who it is, and nobody goes by it.
 */
export async function withLock<T>(path: string, deadlineMs: number, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  const name = nameWithoutFile(`csps-lock-${await lockName(path)}`);
  let held: Server | undefined;
  while ((held = await listening(name)) === undefined) {
    if (Date.now() > deadline) {
      const owner = await readFile(path, "utf8").catch(() => "");
      throw new Error(`${path} is still held by process ${owner || "(not said yet)"}`);
    }
    await sleep(LOOK_MS);
  }
  try {
    await writeFile(path, String(process.pid));
    return await work();
  } finally {
    await rm(path, { force: true });
    held.close();
  }
}

/** The same for every way to write a path: names without a file may have 107 characters. */
async function lockName(path: string): Promise<string> {
  const real = join(await realpath(dirname(path)), basename(path));
  return createHash("sha256").update(real).digest("hex").slice(0, 32);
}

const BUILD_DEADLINE_MS = 45 * 60_000;
const KEPT_VERSIONS = 3;

/** Removes all but the most recently used versions of a cached thing. */
async function prune(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{16}$/.test(name));
  const used = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })),
  );
  used.sort((left, right) => right.at - left.at);
  for (const { name } of used.slice(KEPT_VERSIONS))
    await rm(join(folder, name), { recursive: true, force: true });
}

/**
 * The folder `<cache>/<name>/<key>`, made by `build` when it is not there. A folder under its final name is
 * complete: it is built beside and renamed. Several processes may ask at once; one builds.
 */
export async function cachedFolder(
  name: string,
  key: string,
  build: (folder: string) => Promise<void>,
): Promise<string> {
  const parent = join(cacheRoot(), name);
  const final = join(parent, key);
  await mkdir(parent, { recursive: true });
  if (!existsSync(final)) {
    await withLock(`${final}.lock`, BUILD_DEADLINE_MS, async () => {
      if (existsSync(final)) return;
      const partial = `${final}.partial`;
      await rm(partial, { recursive: true, force: true });
      await mkdir(partial, { recursive: true });
      await build(partial);
      // By the same clock as those that were used: the file system's own may lag behind it, and this one would be pruned.
      await touch(partial);
      await rename(partial, final);
    });
    await prune(parent);
  }
  await touch(final);
  return final;
}

async function touch(folder: string): Promise<void> {
  const now = new Date();
  await utimes(folder, now, now);
}
