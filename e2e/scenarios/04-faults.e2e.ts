/** What ranks and Redis may do to streams: under load a rank's process is killed, and Redis is lost, cut off or wiped. */
import { beforeAll, expect, test } from "vitest";
import { demand, eventually } from "./eventually.ts";
import {
  askRedis,
  deletePod,
  expectWhole,
  healed,
  killProcesses,
  LONG_WINDED,
  NEVER_ENDING,
  newRedis,
  readIndex,
  redisPod,
  seconds,
  STREAMS,
  stream,
  streamsThrough,
  TALKATIVE,
} from "./faults.ts";
import { builtPlugin, indexVerified, type KubectlCsps } from "./kubectlCsps.ts";
import { servedHealthy } from "./served.ts";
import { conditionOf, deployment, rankPods, world } from "./world.ts";

const MINUTE = 60_000;
const INDEX_MS = 10_000;

const served = servedHealthy();

let plugin: KubectlCsps;

beforeAll(async () => {
  plugin = await builtPlugin();
}, 6 * MINUTE);

/**
 * Waits until the index tells of all that it should, and looks whether it tells of each running request what the engines
 * that hold its pages do: kubectl-csps asks all of them, which takes as long as the machine lets it.
 */
async function wholeIndex(sinceMs: number, looksWhole: () => Promise<void>): Promise<void> {
  await eventually("the index to be whole again", INDEX_MS, looksWhole);
  const whole = seconds(sinceMs);
  const compared = await indexVerified(plugin, 2 * MINUTE);
  console.log(
    `   the index was whole again after ${whole}; by ${seconds(sinceMs)} its ${compared} maps were what engines hold`,
  );
}

async function rankCount(): Promise<number> {
  return (await rankPods("prefill")).length + (await rankPods("decode")).length;
}

test.each([
  { role: "prefill", request: LONG_WINDED, when: "prefilling" },
  { role: "decode", request: TALKATIVE, when: "answering" },
] as const)(
  "streams survive the kill -9 of a $role rank, and the group is whole again by itself",
  { timeout: 60 * MINUTE },
  async ({ role, request, when }) => {
    const calm = await stream(served.url, request);
    const victim = (await rankPods(role)).at(-1);
    expect(victim).toBeDefined();
    if (victim === undefined) return;
    let killedMs = 0;
    const kill = async (): Promise<void> => {
      killedMs = Date.now();
      await killProcesses(victim);
    };
    expectWhole(await streamsThrough(served.url, kill, request, when), calm);
    await eventually("a successor", 4 * MINUTE, async () => {
      const now = (await rankPods(role)).find((pod) => pod.metadata.name === victim.metadata.name);
      demand(now !== undefined && now.metadata.uid !== victim.metadata.uid, "it is not there yet");
    });
    await healed(killedMs, 8 * MINUTE);
  },
);

test(
  "streams do not notice the loss of Redis with its data; the next one has the whole index within 10 s",
  { timeout: 60 * MINUTE },
  async () => {
    const redis = await redisPod();
    const calm = await stream(served.url, NEVER_ENDING);
    const ranks = await rankCount();
    const lose = async (): Promise<void> => {
      const lostMs = Date.now();
      await deletePod(redis.metadata.name, world.namespace);
      const next = await newRedis(redis);
      console.log(`   a new Redis was Ready after ${seconds(lostMs)}`);
      await wholeIndex(Date.now(), async () => {
        const now = await readIndex(next);
        expect(now.ranks).toBe(ranks);
        expect(now.requests).not.toEqual([]);
      });
    };
    expectWhole(await streamsThrough(served.url, lose, NEVER_ENDING), calm);
    await eventually("StateStoreReachable", 6 * MINUTE, async () => {
      const condition = conditionOf(await deployment(), "StateStoreReachable");
      demand(condition.status === "True", `${condition.status} ${condition.reason}: ${condition.message}`);
    });
  },
);

test(
  "a Redis that is wiped, every connection to it cut, has the whole index again within 10 s; no stream notices",
  { timeout: 60 * MINUTE },
  async () => {
    const redis = await redisPod();
    const calm = await stream(served.url, NEVER_ENDING);
    const wipe = async (): Promise<void> => {
      const ranks = await rankCount();
      const held = await eventually("the index to tell of all streams and ranks", 2 * MINUTE, async () => {
        const now = await readIndex(redis);
        expect(now).toMatchObject({ requests: { length: STREAMS }, ranks });
        return now;
      });
      const wipedMs = Date.now();
      await askRedis(redis, "FLUSHALL");
      await askRedis(redis, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await wholeIndex(wipedMs, async () => {
        expect(await readIndex(redis)).toEqual(held);
      });
    };
    expectWhole(await streamsThrough(served.url, wipe, NEVER_ENDING), calm);
  },
);
