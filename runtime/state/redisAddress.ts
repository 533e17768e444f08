/**
 * Where Redis is, read from one URL, so that a Secret with one key says everything:
 *
 *   redis://[user:password@]host[:port][/db]         one server; rediss:// over TLS
 *   redis+sentinel://…@host[:26379][/db]?master=…    the primary that Sentinels name
 *   redis+cluster://…@host[:port]                    a Redis Cluster
 *   /path/of/a.sock                                  one server on this machine
 *
 * `rediss+sentinel` and `rediss+cluster` speak TLS. `node=host:port`, as often as needed, names further Sentinels or
 * cluster nodes to ask when the first is away; `sentinelPassword` is the Sentinels' own. Ranks read the same form
 * (runtime/engine/csps_engine/state/address.py).
 */

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface Credentials {
  readonly username: string | undefined;
  readonly password: string | undefined;
}

export type RedisAddress =
  | { readonly kind: "socket"; readonly path: string }
  | (Credentials & {
      readonly kind: "server" | "sentinel" | "cluster";
      readonly tls: boolean;
      /** The first is the one in the URL. */
      readonly nodes: readonly [Endpoint, ...Endpoint[]];
      /** Always 0 in a cluster. */
      readonly db: number;
      /** With `sentinel`: the name under which the Sentinels know the primary. */
      readonly master: string;
      readonly sentinelPassword: string | undefined;
    });

const forms = {
  "redis:": { kind: "server", tls: false },
  "rediss:": { kind: "server", tls: true },
  "redis+sentinel:": { kind: "sentinel", tls: false },
  "rediss+sentinel:": { kind: "sentinel", tls: true },
  "redis+cluster:": { kind: "cluster", tls: false },
  "rediss+cluster:": { kind: "cluster", tls: true },
} as const;

const parametersOf: Readonly<Record<"server" | "sentinel" | "cluster", readonly string[]>> = {
  server: [],
  sentinel: ["master", "node", "sentinelPassword"],
  cluster: ["node"],
};
const defaultPort = { server: 6379, sentinel: 26379, cluster: 6379 };

/** Throws an error that names the part that is wrong, and never the password. */
export function parseRedisAddress(text: string): RedisAddress {
  if (text.startsWith("/")) return { kind: "socket", path: text };
  if (!URL.canParse(text)) throw new Error("the Redis URL is not a URL");
  const url = new URL(text);
  const form = forms[url.protocol as keyof typeof forms] as (typeof forms)[keyof typeof forms] | undefined;
  if (form === undefined) {
    const known = Object.keys(forms).map((protocol) => `${protocol}//`);
    throw new Error(`the Redis URL begins with ${url.protocol}// but must with one of ${known.join(", ")}`);
  }
  for (const name of url.searchParams.keys()) {
    if (!parametersOf[form.kind].includes(name))
      throw new Error(`the Redis URL has the parameter ${name}, which ${url.protocol}// does not take`);
  }
  const master = url.searchParams.get("master") ?? "";
  if (form.kind === "sentinel" && master === "")
    throw new Error("the Redis URL needs the parameter master, the primary's name among the Sentinels");
  const port = defaultPort[form.kind];
  return {
    ...form,
    nodes: [endpoint(url, port), ...url.searchParams.getAll("node").map((node) => nodeEndpoint(node, port))],
    username: optional(decodeURIComponent(url.username)),
    password: optional(decodeURIComponent(url.password)),
    db: database(url, form.kind),
    master,
    sentinelPassword: optional(url.searchParams.get("sentinelPassword") ?? ""),
  };
}

function nodeEndpoint(node: string, port: number): Endpoint {
  if (!URL.canParse(`redis://${node}`)) throw new Error(`the Redis URL's node=${node} is not host:port`);
  return endpoint(new URL(`redis://${node}`), port);
}

function endpoint(url: URL, port: number): Endpoint {
  if (url.hostname === "") throw new Error("the Redis URL names no host");
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port === "" ? port : Number(url.port) };
}

function database(url: URL, kind: "server" | "sentinel" | "cluster"): number {
  const path = url.pathname.replace(/^\//, "");
  const db = path === "" ? 0 : Number(path);
  if (!Number.isSafeInteger(db) || db < 0)
    throw new Error(`the Redis URL's path is ${url.pathname} but must be the number of a database`);
  if (kind === "cluster" && db !== 0)
    throw new Error(`the Redis URL asks for database ${String(db)}, but a cluster has only 0`);
  return db;
}

function optional(text: string): string | undefined {
  return text === "" ? undefined : text;
}
