/** Real Redis in the forms that production has it: a cluster of three, a pair under a Sentinel, one behind TLS. */
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { freePort } from "../../../e2e/cluster/freePort.ts";
import { startRedisServer } from "./redisServer.ts";
import type { RedisServer } from "./redisServer.ts";

export interface Topology {
  readonly url: string;
  dispose(): Promise<void>;
}

const slots = 16_384;
/** A node's bus listens so much above its port. */
const busOffset = 10_000;
const formedWithinMs = 60_000;

/** Three nodes that each have a third of the slots; the URL names the first alone. */
export async function startRedisCluster(): Promise<Topology> {
  const ports = [await freePort(busOffset), await freePort(busOffset), await freePort(busOffset)] as const;
  const nodes = await Promise.all(ports.map((port) => startOn(port, ["--cluster-enabled", "yes"])));
  const clients = nodes.map((node) => new Redis(node.socket));
  const [first] = ports;
  for (const [index, client] of clients.entries()) {
    const from = Math.floor((slots * index) / 3);
    await client.call("CLUSTER", "ADDSLOTSRANGE", from, Math.floor((slots * (index + 1)) / 3) - 1);
    if (index > 0) await client.call("CLUSTER", "MEET", "127.0.0.1", first);
  }
  await Promise.all(
    clients.map((client) =>
      until(async () => {
        const info = String(await client.call("CLUSTER", "INFO"));
        return info.includes("cluster_state:ok") && info.includes("cluster_known_nodes:3");
      }),
    ),
  );
  for (const client of clients) client.disconnect();
  return { url: `redis+cluster://127.0.0.1:${String(first)}`, dispose: () => disposeAll(nodes) };
}

export interface SentinelTopology extends Topology {
  /** Kills the primary and waits until the replica is the new one. */
  failOver(): Promise<void>;
  /** Cuts the primary off, with its connections open and silent, and waits until the replica is the new one. */
  split(): Promise<void>;
  /** Lets the old primary answer again. */
  heal(): void;
}

/** A primary, its replica, and one Sentinel whose word is enough. */
export async function startSentinelPair(): Promise<SentinelTopology> {
  const [primaryPort, replicaPort, sentinelPort] = [await freePort(), await freePort(), await freePort()];
  const primary = await startOn(primaryPort, []);
  const replica = await startOn(replicaPort, ["--replicaof", "127.0.0.1", String(primaryPort)]);
  const config = join(replica.folder, "sentinel.conf");
  await writeFile(
    config,
    [
      `sentinel monitor store 127.0.0.1 ${String(primaryPort)} 1`,
      "sentinel down-after-milliseconds store 1500",
      "sentinel failover-timeout store 2000",
    ].join("\n"),
  );
  const sentinel = await startOn(sentinelPort, [], { config, sentinel: true });
  const watcher = new Redis(sentinel.socket);
  await until(async () => ((await watcher.call("SENTINEL", "REPLICAS", "store")) as unknown[]).length === 1);
  const promoted = async (): Promise<boolean> => {
    const named = (await watcher.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "store")) as string[];
    return named[1] === String(replicaPort);
  };
  return {
    url: `redis+sentinel://127.0.0.1:${String(sentinelPort)}?master=store`,
    async failOver() {
      await primary.stop();
      await until(promoted);
    },
    async split() {
      primary.pause();
      await until(promoted);
    },
    heal() {
      primary.resume();
    },
    async dispose() {
      primary.resume();
      watcher.disconnect();
      await disposeAll([sentinel, replica, primary]);
    },
  };
}

export interface TlsTopology extends Topology {
  /** The certificate, which signed itself. */
  readonly ca: string;
  /** URL of a user who may touch this deployment's keys and run scripts, and nothing else. */
  readonly limitedUrl: (deployment: string) => Promise<string>;
}

/** One server that speaks TLS alone. */
export async function startTlsServer(): Promise<TlsTopology> {
  const port = await freePort();
  const server = await startRedisServer([], async (folder) => {
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "ca.crt")];
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    const out = ["-keyout", key, "-out", certificate, "-days", "2"];
    await promisify(execFile)("openssl", [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      ...out,
      ...subject,
    ]);
    const files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate];
    return ["--tls-port", String(port), "--bind", "127.0.0.1", "--tls-auth-clients", "no", ...files];
  });
  const address = `127.0.0.1:${String(port)}`;
  return {
    url: `rediss://${address}`,
    ca: await readFile(join(server.folder, "ca.crt"), "utf8"),
    async limitedUrl(deployment) {
      const admin = new Redis(server.socket);
      const keys = `~csps:{${deployment}}:*`;
      await admin.call(
        "ACL",
        "SETUSER",
        "ranks",
        "on",
        ">p",
        keys,
        "-@all",
        "+@connection",
        "+info",
        ...verbCommands,
      );
      admin.disconnect();
      return `rediss://ranks:p@${address}`;
    },
    dispose: () => server.dispose(),
  };
}

/** What the verbs use; docs/guides/state-store.md tells administrators the same. */
export const verbCommands: readonly string[] = [
  "+evalsha",
  "+eval",
  ...[
    "+get",
    "+set",
    "+del",
    "+hget",
    "+hset",
    "+hdel",
    "+hvals",
    "+hscan",
    "+hgetall",
    "+hlen",
    "+hexists",
    "+exists",
  ],
  ...["+zadd", "+zrem", "+zscore", "+zrangebyscore", "+zremrangebyscore", "+zcard", "+pexpireat", "+unlink"],
];

function startOn(
  port: number,
  options: readonly string[],
  over?: { config: string; sentinel: boolean },
): Promise<RedisServer> {
  const flags = ["--bind", "127.0.0.1", "--port", String(port), ...options];
  return startRedisServer(flags, undefined, over);
}

async function disposeAll(servers: readonly RedisServer[]): Promise<void> {
  for (const server of servers) await server.dispose();
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + formedWithinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("Redis did not come to the state that the test needs");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
