/** Debian packages that the cluster's tools need on this machine: named, then installed, never silently. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { cacheRoot, withLock } from "./cache.ts";
import { run, succeeds } from "./command.ts";
import { say, step } from "./progress.ts";

/** Several may ask at once, and apt-get update does not wait for another one. */
const APT_DEADLINE_MS = 20 * 60_000;

async function isInstalled(name: string): Promise<boolean> {
  const status = await run("dpkg-query", ["-W", "-f", "${db:Status-Status}", name]).catch(() => "");
  return status === "installed";
}

/** Installs those of `names` that are missing, with apt-get. Needs root; says what it installs. */
export async function ensurePackages(names: readonly string[]): Promise<void> {
  const checks = await Promise.all(names.map(async (name) => ({ name, there: await isInstalled(name) })));
  const missing = checks.filter((check) => !check.there).map((check) => check.name);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(`Run as root, or first: apt-get install --no-install-recommends ${missing.join(" ")}`);
  }
  const environment = { DEBIAN_FRONTEND: "noninteractive" };
  const install = [
    "-o",
    "DPkg::Lock::Timeout=600",
    "install",
    "-y",
    "-q",
    "--no-install-recommends",
    ...missing,
  ];
  await mkdir(cacheRoot(), { recursive: true });
  await withLock(join(cacheRoot(), "apt.lock"), APT_DEADLINE_MS, () =>
    step(`installing Debian packages: ${missing.join(" ")}`, async () => {
      if (await succeeds("apt-get", install, { env: environment })) return;
      say("  package lists are missing or old: apt-get update");
      await run("apt-get", ["update", "-q"], { env: environment });
      await run("apt-get", install, { env: environment });
    }),
  );
}
