/** The control API of a decode pool, spoken to as the operator does, by way of the pod of whoever coordinates it. */
import type { PoolInventory } from "../../runtime/wire/schema/move.ts";
import { createRankClient, type RankClient } from "../../runtime/wire/rankClient.ts";
import type { RankEndpoint } from "../../runtime/wire/rankEndpoint.ts";
import type { Forward } from "../quickstart/forward.ts";
import { eventually } from "./eventually.ts";
import { kubectl, openPod, pods, world } from "./world.ts";

const CONTROL_PORT = 9000;
const CALL_MS = 10_000;

export interface PoolAccess {
  inventory(): Promise<PoolInventory>;
  /** Orders a move of one shard to `to`; what becomes of it shows in the inventory. */
  move(inventory: PoolInventory, shard: Shard, to: string): Promise<void>;
  close(): Promise<void>;
}

/** Pages of a request that lie on one rank. */
export interface Shard {
  readonly requestId: string;
  readonly rankId: string;
  readonly firstPage: number;
  readonly pages: number;
}

function endpoint(door: Forward): RankEndpoint {
  const { hostname, port } = new URL(door.url);
  return { address: hostname, controlPort: Number(port) };
}

interface Leader {
  readonly door: Forward;
  /** Highest that it has heard. */
  readonly fence: number;
}

/** A forward to the rank that coordinates the pool now: any rank of it names that one. */
async function findLeader(deployment: string, client: RankClient): Promise<Leader> {
  const open = (rank: string): Promise<Forward> => openPod(rank, CONTROL_PORT);
  const ranks = await pods(`csps.io/deployment=${deployment},csps.io/role=decode`);
  const silent: string[] = [];
  for (const { metadata } of ranks) {
    let door: Forward | undefined;
    try {
      door = await open(metadata.name);
      const { coordinator, fence } = await client.state(endpoint(door), { deadlineMs: CALL_MS });
      if (coordinator?.rankId === metadata.name) return { door, fence };
      door.close();
      if (coordinator !== undefined) return { door: await open(coordinator.rankId), fence };
      silent.push(`${metadata.name} is in no epoch`);
    } catch (error) {
      door?.close();
      silent.push(`${metadata.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new Error(`no rank of ${ranks.length} names a coordinator: ${silent.join("; ")}`);
}

export async function openPool(deployment: string): Promise<PoolAccess> {
  const secret = ["get", "secret", `${deployment}-control-token`, "-n", world.namespace];
  const encoded = await kubectl([...secret, "-o", "jsonpath={.data.token}"]);
  const token = Buffer.from(encoded, "base64").toString();
  const client = createRankClient({ token: () => token });
  let leader = await eventually("the pool's coordinator", 60_000, () => findLeader(deployment, client));
  const call = { deadlineMs: CALL_MS };
  return {
    // Another rank may lead by now, and a forward does not outlive a connection that was closed while it lay idle.
    inventory: () =>
      eventually("the pool's inventory", 60_000, async () => {
        try {
          return await client.inventory(endpoint(leader.door), call);
        } catch (error) {
          leader.door.close();
          leader = await findLeader(deployment, client);
          throw error;
        }
      }),
    async move(inventory, { requestId, rankId, firstPage, pages }, to) {
      const request = inventory.requests.find((one) => one.requestId === requestId);
      const incarnationOf = (rank: string): string =>
        inventory.ranks.find((one) => one.rankId === rank)?.incarnation ?? "";
      const mapVersion = request?.mapVersion ?? 0;
      const order = {
        ...{ moveId: `${GATHER}${requestId}@${mapVersion}`, fence: leader.fence },
        ...{ requestId, mapVersion, firstPage, pages },
        ...{ from: rankId, fromIncarnation: incarnationOf(rankId), to, toIncarnation: incarnationOf(to) },
        ...{ takesHome: false, bytesPerSecond: 0, deadlineMs: 60_000 },
      };
      await client.move(endpoint(leader.door), order, call);
    },
    async close() {
      leader.door.close();
      await client.close();
    },
  };
}

/** Moves of this name are the scenario's own. */
const GATHER = "gather-";

/** Brings every page of every running request onto one rank, a shard of each request at a time. */
export async function gather(pool: PoolAccess, to: string, deadlineMs: number): Promise<void> {
  await eventually(
    `every page to be on ${to}`,
    deadlineMs,
    async () => {
      const inventory = await pool.inventory();
      const copying = new Set(
        inventory.moves.filter((one) => one.phase === "copying").map((one) => one.requestId),
      );
      const strays = inventory.requests.flatMap(({ requestId, shards }) => {
        const stray = shards.find((shard) => shard.rankId !== to);
        return stray === undefined ? [] : [{ requestId, ...stray }];
      });
      const idle = strays.filter((shard) => !copying.has(shard.requestId));
      await Promise.all(idle.map((shard) => pool.move(inventory, shard, to)));
      if (strays.length > 0) throw new Error(`${strays.length} requests have pages elsewhere`);
    },
    100,
  );
}

/** Moves that the operator ordered and that were committed. */
export function operatorsMoves({ moves }: PoolInventory): PoolInventory["moves"] {
  return moves.filter((move) => move.phase === "committed" && !move.moveId.startsWith(GATHER));
}

/** Share of memory of the fullest rank over the mean of all, less one; 0 in an empty pool. */
export function memoryImbalance({ ranks }: PoolInventory): number {
  const shares = ranks.map((rank) => (rank.pagesTotal - rank.pagesFree) / rank.pagesTotal);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  return mean === 0 ? 0 : Math.max(...shares) / mean - 1;
}
