/**
 * Ports for processes that tests start. None of those that the system gives away: a process takes some time to listen on
 * its port, and till then any socket of any process could get one of them. And each only once while whoever was given it
 * lives: of two test processes that find the same port free, one would come too late. (The package get-port keeps
 * ports apart within one process only, and falls back to one of the system's.)
 */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Server } from "node:net";
import { listening, nameWithoutFile } from "./listening.ts";

const lowest = 20_000;
/** Where the system gives away nearly all ports, one of its own is as good as any. */
const leastChoice = 2_000;
const lowestGivenUsually = 32_768;
const attempts = 1_000;

/** Kept until the process ends; they hold no process up. */
const claims: Server[] = [];

/**
 * A port of the loopback that nobody listens on and nobody else gets from here while this process lives.
 *
 * @param companion so much above it lies a port that has to be free as well, as that of a Redis Cluster's bus.
 */
export async function freePort(companion = 0): Promise<number> {
  const end = endOfChoice(companion);
  for (let attempt = 0; attempt < attempts; attempt++) {
    const port = randomInt(lowest, end);
    if (await isFree([...new Set([port, port + companion])])) return port;
  }
  throw new Error(`no free port between ${lowest} and ${end}`);
}

function endOfChoice(companion: number): number {
  const range = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").trim().split(/\s+/);
  const end = Number(range[0]) - companion;
  return end - lowest < leastChoice ? Math.max(lowestGivenUsually - companion, lowest + leastChoice) : end;
}

async function isFree(ports: readonly number[]): Promise<boolean> {
  for (const port of ports) {
    const claim = await listening(nameWithoutFile(`csps-test-port-${port}`));
    if (claim === undefined) return false;
    claims.push(claim.unref());
    const probe = await listening({ host: "127.0.0.1", port });
    if (probe === undefined) return false;
    await new Promise((resolve) => probe.close(resolve));
  }
  return true;
}
