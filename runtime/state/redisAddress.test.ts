import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { parseRedisAddress } from "./redisAddress.ts";

/** The ranks' reader is held to the same file. */
const golden = z
  .object({
    read: z.array(
      z.object({
        url: z.string(),
        kind: z.string(),
        tls: z.boolean(),
        nodes: z.array(z.tuple([z.string(), z.int()])),
        username: z.string().optional(),
        password: z.string().optional(),
        db: z.int().default(0),
        master: z.string().default(""),
        sentinelPassword: z.string().optional(),
      }),
    ),
    refused: z.array(z.object({ url: z.string(), because: z.string() })),
  })
  .parse(JSON.parse(readFileSync(join(import.meta.dirname, "golden/addresses.json"), "utf8")));

describe("the address of Redis", () => {
  it.each(golden.read)("$url is read", ({ url, nodes, ...rest }) => {
    const endpoints = nodes.map(([host, port]) => ({ host, port }));
    expect(parseRedisAddress(url)).toEqual({ ...rest, nodes: endpoints });
  });

  it.each(golden.refused)("$url is refused", ({ url, because }) => {
    expect(() => parseRedisAddress(url)).toThrow(because);
    expect(() => parseRedisAddress(url)).not.toThrow(/secret/);
  });

  it("may be the path of a unix socket", () => {
    expect(parseRedisAddress("/run/redis.sock")).toEqual({ kind: "socket", path: "/run/redis.sock" });
  });

  it.each(["", "redis://", "redis+cluster://:6379"])("%j names no server and is refused", (url) => {
    expect(() => parseRedisAddress(url)).toThrow(/is not a URL|names no host/);
  });
});
