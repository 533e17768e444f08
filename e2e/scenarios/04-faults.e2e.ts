/** What ranks and Redis may do to streams: under load a rank's process is killed, and Redis is lost, cut off or wiped. */
import { expect, test } from "vitest";
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
import { servedHealthy } from "./served.ts";
import { conditionOf, deployment, rankPods, world } from "./world.ts";

const MINUTE = 60_000;

const served = servedHealthy();

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
  "streams do not notice the loss of Redis with its data; the next one has the index within 10 s",
  { timeout: 60 * MINUTE },
  async () => {
    const redis = await redisPod();
    const ranks = await rankCount();
    let lostMs = 0;
    const outcomes = await streamsThrough(served.url, async () => {
      lostMs = Date.now();
      await deletePod(redis.metadata.name, world.namespace);
    });
    expectWhole(outcomes, served.undisturbed);
    const next = await newRedis(redis);
    const readyMs = Date.now();
    await eventually("every rank in the index", 10_000, async () => {
      expect((await readIndex(next)).ranks).toBe(ranks);
    });
    console.log(`   the index was whole ${seconds(readyMs)} after the new Redis was Ready`);
    await eventually("StateStoreReachable", 6 * MINUTE, async () => {
      const condition = conditionOf(await deployment(), "StateStoreReachable");
      demand(condition.status === "True", `${condition.status} ${condition.reason}: ${condition.message}`);
    });
    console.log(`   the operator reached it ${seconds(lostMs)} after the loss`);
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
      await eventually("the index to be whole again", 10_000, async () => {
        expect(await readIndex(redis)).toEqual(held);
      });
      console.log(`   the index was whole again after ${seconds(wipedMs)}`);
    };
    expectWhole(await streamsThrough(served.url, wipe, NEVER_ENDING), calm);
  },
);
