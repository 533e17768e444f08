/** Opens the connection that an address asks for: one server, the primary that Sentinels name, or a cluster. */
import { Cluster, Redis } from "ioredis";
import type { RedisOptions } from "ioredis";
import type { RedisAddress } from "./redisAddress.ts";

export interface ConnectionSettings {
  readonly address: RedisAddress;
  /** Instead of the one in the address. */
  readonly password: string | undefined;
  /** Authorities that may have signed Redis' certificate, in PEM; undefined: those of the system. */
  readonly ca: string | undefined;
  readonly commandTimeoutMs: number;
}

/** What verbs need of a connection. */
export type RedisConnection = Pick<Redis | Cluster, "evalsha" | "eval" | "disconnect"> & {
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "ready", listener: () => void): unknown;
};

/**
 * A connection that stays silent for so long, while an answer is due, is made anew: the other end may be cut off, or may
 * no longer be the primary, and nobody would tell. Long enough for a server that is only slow.
 */
const leastSilenceMs = 2_000;

/** Connects in the background and reconnects for ever. */
export function openRedis(settings: ConnectionSettings): RedisConnection {
  const { address } = settings;
  const base = connectionOptions(settings);
  if (address.kind === "socket") return new Redis(address.path, base);
  const [first] = address.nodes;
  const shared = { ...base, ...access(settings, address), ...security(settings, address) };
  if (address.kind === "cluster") return new Cluster([...address.nodes], clusterOptions(shared));
  if (address.kind === "server") return new Redis({ ...shared, ...first, db: address.db });
  return new Redis({
    ...shared,
    sentinels: [...address.nodes],
    name: address.master,
    db: address.db,
    enableTLSForSentinelMode: address.tls,
    sentinelCommandTimeout: 1_000,
    sentinelRetryStrategy: backoffMs,
    ...(address.sentinelPassword === undefined ? {} : { sentinelPassword: address.sentinelPassword }),
    ...(shared.tls === undefined ? {} : { sentinelTLS: shared.tls }),
  });
}

type Options = Omit<RedisOptions, "replyMapping" | "protocol">;

function connectionOptions({ password, commandTimeoutMs }: ConnectionSettings): Options {
  return {
    // A call while the connection is away fails at once instead of waiting in a queue.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 1,
    commandTimeout: commandTimeoutMs,
    connectTimeout: 1_000,
    socketTimeout: Math.max(leastSilenceMs, 2 * commandTimeoutMs),
    retryStrategy: backoffMs,
    // After a failover the old primary answers READONLY until the connection is made anew.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
    ...(password === undefined ? {} : { password }),
  };
}

function clusterOptions(redisOptions: Options) {
  return {
    redisOptions,
    enableOfflineQueue: false,
    clusterRetryStrategy: backoffMs,
    // A call has one deadline: it follows a slot that has moved, and does not wait for a failover to end.
    maxRedirections: 3,
    retryDelayOnFailover: 20,
    retryDelayOnClusterDown: 20,
  };
}

type Remote = Exclude<RedisAddress, { kind: "socket" }>;

function access(settings: ConnectionSettings, { username, password }: Remote): Options {
  const secret = settings.password ?? password;
  return {
    ...(username === undefined ? {} : { username }),
    ...(secret === undefined ? {} : { password: secret }),
  };
}

function security({ ca }: ConnectionSettings, { tls }: Remote): Pick<Options, "tls"> {
  if (!tls) return {};
  return { tls: ca === undefined ? {} : { ca } };
}

function backoffMs(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 6), 2_000);
}
