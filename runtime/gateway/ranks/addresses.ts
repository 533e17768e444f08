/** Where ranks may be: the addresses behind the headless Service, or a fixed list. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { RankEndpoint } from "../../wire/rankEndpoint.ts";

export type FindRanks = () => Promise<RankEndpoint[]>;

const lookupWithinMs = 2_000;

/**
 * `host` is one name, or `address:port` pairs separated by commas. A name is resolved as the system does it, with
 * the pod's search domains (which a plain DNS query would leave out), anew at each call.
 */
export function rankFinder(host: string, controlPort: number): FindRanks {
  const entries = host.split(",").map((entry) => entry.trim());
  if (entries.length > 1 || entries.some((entry) => /:\d+$/.test(entry))) {
    const fixed = entries.filter((entry) => entry !== "").map((entry) => endpointOf(entry, controlPort));
    return () => Promise.resolve(fixed);
  }
  if (isIP(host) !== 0) return () => Promise.resolve([{ address: host, controlPort }]);
  return async () => {
    const found = await withDeadline(lookup(host, { all: true }), host);
    return found.map(({ address }) => ({ address, controlPort }));
  };
}

function endpointOf(entry: string, defaultPort: number): RankEndpoint {
  const parts = /^\[?(.+?)\]?:(\d+)$/.exec(entry);
  const [, address, port] = parts ?? [];
  return address === undefined || port === undefined
    ? { address: entry, controlPort: defaultPort }
    : { address, controlPort: Number(port) };
}

async function withDeadline<T>(work: Promise<T>, host: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`${host} was not resolved within ${String(lookupWithinMs)} ms`));
    }, lookupWithinMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
