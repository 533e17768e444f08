import { describe, expect, it } from "vitest";
import { parseRedisAddress } from "./redisAddress.ts";

const plain = { username: undefined, password: undefined, db: 0, master: "", sentinelPassword: undefined };

describe("the address of Redis", () => {
  it.each([
    ["redis://store", { ...plain, kind: "server", tls: false, nodes: [{ host: "store", port: 6379 }] }],
    [
      "rediss://me:p%40w@store:7000/2",
      {
        ...plain,
        kind: "server",
        tls: true,
        nodes: [{ host: "store", port: 7000 }],
        username: "me",
        password: "p@w",
        db: 2,
      },
    ],
    [
      "redis+sentinel://:p@s0/1?master=m&node=s1&node=s2:5&sentinelPassword=q",
      {
        ...plain,
        kind: "sentinel",
        tls: false,
        nodes: [
          { host: "s0", port: 26379 },
          { host: "s1", port: 26379 },
          { host: "s2", port: 5 },
        ],
        password: "p",
        db: 1,
        master: "m",
        sentinelPassword: "q",
      },
    ],
    [
      "rediss+cluster://[::1]:7001?node=c1:7002",
      {
        ...plain,
        kind: "cluster",
        tls: true,
        nodes: [
          { host: "::1", port: 7001 },
          { host: "c1", port: 7002 },
        ],
      },
    ],
    ["/run/redis.sock", { kind: "socket", path: "/run/redis.sock" }],
  ])("%s is read", (text, address) => {
    expect(parseRedisAddress(text)).toEqual(address);
  });

  it.each([
    ["store:6379", /begins with store:\/\/ but must with one of redis:\/\//],
    ["", /is not a URL/],
    ["redis://", /is not a URL|names no host/],
    ["redis://:secret@store/x", /path is \/x but must be the number of a database/],
    ["redis+cluster://store/1", /asks for database 1, but a cluster has only 0/],
    ["redis+sentinel://store", /needs the parameter master/],
    ["redis://store?node=b:1", /has the parameter node, which redis:\/\/ does not take/],
    ["redis+cluster://store?node=b:x", /node=b:x is not host:port/],
  ])("%s is refused", (text, sentence) => {
    expect(() => parseRedisAddress(text)).toThrow(sentence);
    expect(() => parseRedisAddress(text)).not.toThrow(/secret/);
  });
});
