/** The cluster state on Redis: each call is one Lua verb under a deadline; failures are answers and are told. */
import type { z } from "zod";
import type { ClusterState, PrefixNote, StateAnswer, StateObserver, Written } from "./clusterState.ts";
import type { ShardMap } from "./domain.ts";
import { degreeTable, moveRecord, rankReport, shardMap } from "./domain.ts";
import { parseRedisAddress } from "./redisAddress.ts";
import type { RedisConnection } from "./redisConnection.ts";
import { openRedis } from "./redisConnection.ts";
import { stateProblem } from "./stateProblem.ts";
import type { VerbArguments, VerbName } from "./verbs.ts";
import { argumentsOf, keysOf, loadVerbs } from "./verbs.ts";

/** Redis serves nobody else while a page is made: a millisecond or so. */
const shardsPerPage = 500;
/** Pages of the pool may be gone by then. */
const prefixKeepMs = 3_600_000;
/** Some 6 million tokens of prompts, in some 15 MB of Redis. */
const mostPrefixes = 100_000;

export interface RedisSettings {
  /** See redisAddress.ts for its forms. */
  readonly url: string;
  /** Instead of the one in the URL. */
  readonly password?: string;
  /** Authorities that may have signed Redis' certificate, in PEM; absent: those of the system. */
  readonly ca?: string;
  /** <namespace>/<deployment>. */
  readonly deployment: string;
  /** Unix milliseconds. */
  readonly now: () => number;
  readonly observe?: StateObserver;
  /** For the whole of one call. */
  readonly commandTimeoutMs?: number;
}

/**
 * Connects in the background and reconnects for ever; until then every answer is `unreachable`. Throws when the URL
 * can't be read.
 */
export function createRedisClusterState(settings: RedisSettings): ClusterState {
  const redis = openRedis({
    address: parseRedisAddress(settings.url),
    password: settings.password,
    ca: settings.ca,
    commandTimeoutMs: timeoutOf(settings),
  });
  const { now } = settings;
  const call = caller(redis, settings);
  return {
    reportRank: (report, ttlMs) =>
      call(
        "rank_report",
        {
          nowMs: now(),
          rankId: report.rankId,
          incarnation: report.incarnation,
          startedMs: report.startedMs,
          expiresAtMs: now() + ttlMs,
          report,
        },
        ([tag]) => tag as Written,
      ),
    removeRank: (rankId, incarnation) =>
      call("rank_remove", { rankId, incarnation }, ([tag]) => tag === "removed"),
    listRanks: () =>
      call("rank_list", { nowMs: now() }, ([, ...reports]) =>
        readable(rankReport, reports).sort((a, b) => (a.rankId < b.rankId ? -1 : 1)),
      ),
    putShards: (map, ttlMs) =>
      call(
        "shard_put",
        {
          nowMs: now(),
          requestId: map.requestId,
          epoch: map.epoch,
          version: map.version,
          expiresAtMs: now() + ttlMs,
          map,
        },
        ([tag]) => tag as Written,
      ),
    removeShards: (requestId, epoch) =>
      call("shard_remove", { requestId, epoch }, ([tag]) => (tag === "stale" ? "stale" : tag === "removed")),
    async listShards() {
      const found = new Map<string, ShardMap>();
      let cursor = "0";
      do {
        const page = await call(
          "shard_list",
          { nowMs: now(), cursor, count: shardsPerPage },
          ([, next = "0", ...maps]) => ({ next, maps: readable(shardMap, maps) }),
        );
        if (!page.ok) return page;
        // A map may come twice while Redis grows its table; the later one is the newer.
        for (const map of page.value.maps) found.set(map.requestId, map);
        cursor = page.value.next;
      } while (cursor !== "0");
      return { ok: true, value: [...found.values()] };
    },
    beginMove: (move, fence, ttlMs) =>
      call(
        "move_begin",
        {
          nowMs: now(),
          fence,
          requestId: move.requestId,
          moveId: move.moveId,
          expiresAtMs: now() + ttlMs,
          move,
        },
        ([tag]) => tag as Written | "held",
      ),
    endMove: ({ requestId, moveId }, fence) =>
      call("move_end", { fence, requestId, moveId }, ([tag]) =>
        tag === "stale" ? "stale" : tag === "ended",
      ),
    listMoves: () => call("move_list", { nowMs: now() }, ([, ...moves]) => readable(moveRecord, moves)),
    notePrefixes: (pool, keys) =>
      call(
        "prefix_note",
        { nowMs: now(), pool, keys, keepMs: prefixKeepMs, most: mostPrefixes },
        () => "noted" as const,
      ),
    listPrefixes: (sinceMs, count) =>
      call("prefix_list", { sinceMs, count }, ([, until = "", era = "", ...notes]) => ({
        untilMs: Number(until),
        era: era === "" ? undefined : era,
        notes: notes.map(noteOf),
      })),
    putDegrees: (table, fence, ttlMs) =>
      call("degree_put", { fence, expiresAtMs: now() + ttlMs, table }, ([tag]) => tag as Written),
    readDegrees: () =>
      call("degree_get", { nowMs: now() }, ([, ...tables]) => readable(degreeTable, tables)[0]),
    advanceFence: (fence) => call("fence_advance", { fence }, ([tag]) => tag as Written),
    checkFence: (fence) => call("fence_check", { fence }, ([tag]) => tag as "current" | "stale"),
    clear: (fence) =>
      call("deployment_clear", { fence }, ([tag, keys]) => (tag === "stale" ? "stale" : Number(keys))),
    async close() {
      redis.disconnect();
      await Promise.resolve();
    },
  };
}

type Reply = [tag: string, ...fields: string[]];

function timeoutOf({ commandTimeoutMs = 200 }: RedisSettings): number {
  return commandTimeoutMs;
}

function caller(redis: RedisConnection, settings: RedisSettings) {
  const verbs = loadVerbs();
  // While a connection is refused, calls only learn that there is none; why is told to this listener, and an
  // error that nobody listens to would end the process.
  let refusal: Error | undefined;
  redis.on("error", (error) => (refusal = error));
  redis.on("ready", () => (refusal = undefined));
  return async function call<T>(
    name: VerbName,
    values: VerbArguments,
    read: (reply: Reply) => T,
  ): Promise<StateAnswer<T>> {
    const { descriptor, lua, sha1 } = verbs[name];
    const began = performance.now();
    const keys = keysOf(descriptor, settings.deployment);
    const tell = (problem?: "invalid" | ReturnType<typeof stateProblem>): void => {
      settings.observe?.({ verb: name, durationMs: performance.now() - began, problem });
    };
    try {
      const rest = [...keys, ...argumentsOf(descriptor, values)];
      const asked = redis.evalsha(sha1, keys.length, ...rest).catch((error: unknown) => {
        // Redis forgets scripts when it restarts; the text teaches it again.
        if (error instanceof Error && error.message.startsWith("NOSCRIPT")) {
          return redis.eval(lua, keys.length, ...rest);
        }
        throw error;
      });
      const reply = await within(timeoutOf(settings), asked);
      if (!isReply(reply, descriptor.replies)) {
        tell("invalid");
        return {
          ok: false,
          problem: "invalid",
          message: `${name} answered ${JSON.stringify(reply).slice(0, 80)}`,
        };
      }
      const value = read(reply);
      tell();
      return { ok: true, value };
    } catch (error) {
      const problem = stateProblem(error, refusal);
      tell(problem);
      return {
        ok: false,
        problem,
        message: `${name}: ${error instanceof Error ? error.message : String(error)}`,
      };
    }
  };
}

/** A cluster's client retries; whatever it does, a call has one deadline. */
async function within<T>(ms: number, asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`timed out after ${String(ms)} ms`));
    }, ms);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
    // What is answered too late has nobody to tell.
    asked.catch(() => undefined);
  }
}

/** `pool key`: names of pools have no blanks. */
function noteOf(text: string): PrefixNote {
  const blank = text.indexOf(" ");
  return { pool: text.slice(0, blank), key: text.slice(blank + 1) };
}

function isReply(reply: unknown, allowed: readonly { tag: string }[]): reply is Reply {
  return Array.isArray(reply) && allowed.some(({ tag }) => tag === reply[0]);
}

/** Values that a newer or broken writer has put in another form are left out, not passed on. */
function readable<T>(schema: z.ZodType<T>, texts: readonly string[]): T[] {
  return texts.flatMap((text) => {
    try {
      const result = schema.safeParse(JSON.parse(text));
      return result.success ? [result.data] : [];
    } catch {
      return [];
    }
  });
}
