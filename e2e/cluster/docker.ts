/**
 * A Docker daemon: the one that answers, else our own. What containers of our own daemon send stays on this
 * machine: until kube-proxy is up a ClusterIP would go out by the default route.
 */
import { spawn } from "node:child_process";
import { existsSync, openSync } from "node:fs";
import { copyFile, chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cacheRoot } from "./cache.ts";
import { run, succeeds } from "./command.ts";
import { ensurePackages } from "./debian.ts";
import { say, step } from "./progress.ts";

const CAP_SYS_RESOURCE = 24n;
const DAEMON_DEADLINE_MS = 180_000;
const WRAPPER = join(import.meta.dirname, "scripts", "runc-without-resource");

const pidFile = (): string => join(cacheRoot(), "dockerd", "pid");

/** Whether a `CapBnd` line of /proc/<pid>/status holds CAP_SYS_RESOURCE. */
export function mayRaiseLimits(status: string): boolean {
  const mask = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
}

async function hasPrivilege(): Promise<boolean> {
  return mayRaiseLimits(await readFile("/proc/self/status", "utf8"));
}

/** Device of the default route, in the output of `ip [-6] route show default`. */
export function defaultDevice(routes: string): string | undefined {
  return /\bdev (\S+)/.exec(routes)?.[1];
}

/** Rejects what containers send out by the default route. Idempotent. */
async function keepTrafficHere(): Promise<void> {
  const rules = [
    { tool: "iptables", chain: "DOCKER-USER", routes: ["route", "show", "default"] },
    { tool: "ip6tables", chain: "FORWARD", routes: ["-6", "route", "show", "default"] },
  ];
  for (const { tool, chain, routes } of rules) {
    const device = defaultDevice(await run("ip", routes));
    if (device === undefined) continue;
    const rule = [chain, "-o", device, "-j", "REJECT"];
    if (!(await succeeds(tool, ["-C", ...rule]))) await run(tool, ["-I", ...rule]);
  }
}

async function startDaemon(): Promise<void> {
  const folder = join(cacheRoot(), "dockerd");
  await mkdir(folder, { recursive: true });
  const args: string[] = [];
  if (!(await hasPrivilege())) {
    const wrapper = join(folder, "runc-without-resource");
    await copyFile(WRAPPER, wrapper);
    await chmod(wrapper, 0o755);
    args.push("--add-runtime", `csps-runc=${wrapper}`, "--default-runtime", "csps-runc");
  }
  const output = openSync(join(folder, "log"), "a");
  const daemon = spawn("dockerd", args, { detached: true, stdio: ["ignore", output, output] });
  daemon.on("error", () => undefined);
  daemon.unref();
  const deadline = Date.now() + DAEMON_DEADLINE_MS;
  while (!(await succeeds("docker", ["info"], { timeoutMs: 60_000 }))) {
    if (daemon.exitCode !== null || daemon.pid === undefined || Date.now() > deadline) {
      const log = await readFile(join(folder, "log"), "utf8").catch(() => "");
      throw new Error(`dockerd did not come up; the end of ${join(folder, "log")}:\n${log.slice(-2_000)}`);
    }
    await sleep(200);
  }
  await writeFile(pidFile(), String(daemon.pid));
}

/** A Docker daemon answers when this returns; it is installed and started where there is none (needs root). */
export async function ensureDocker(): Promise<void> {
  const answers = await succeeds("docker", ["info"], { timeoutMs: 60_000 });
  if (!answers) {
    await ensurePackages(["docker.io", "containerd", "runc", "iptables", "iproute2"]);
    // In Debian 13 and later the client is a package of its own.
    if (!(await succeeds("docker", ["--version"]))) await ensurePackages(["docker-cli"]);
    await step("starting dockerd", startDaemon);
  }
  // A daemon of somebody else's, with their firewall, is not ours to change.
  if (existsSync(pidFile())) await keepTrafficHere();
}

/** Stops the daemon if it is the one that we started and no container is left in it. */
export async function stopOwnDocker(): Promise<void> {
  const pid = Number(await readFile(pidFile(), "utf8").catch(() => "0"));
  if (pid === 0) return;
  const isOurs = (await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")).trim() === "dockerd";
  if (isOurs && (await run("docker", ["ps", "-q"])).trim() !== "") {
    say("  dockerd goes on: it runs other containers");
    return;
  }
  if (isOurs) process.kill(pid, "SIGTERM");
  await rm(pidFile(), { force: true });
}
