/** Looks at one pool: the inventory of its coordinator, and which of its ranks may take more. */
import type { RankClient } from "../../runtime/wire/rankClient.ts";
import type { PoolInventory } from "../../runtime/wire/schema/move.ts";
import type { DecodePool, Pod } from "../kube/object.ts";
import { podRuns } from "../planning/gang/roster.ts";
import { podIndex } from "../ranks/context.ts";
import { drainMark } from "../ranks/drainMark.ts";
import { rankRef } from "../ranks/engines.ts";
import { nodeOf, rankPodView } from "../ranks/podView.ts";
import type { RebalancerContext } from "./context.ts";

const askDeadlineMs = 3_000;
/** Any rank names the coordinator, so that a few are enough even when some have just died. */
const mostAsked = 3;

export interface PoolView {
  readonly inventory: PoolInventory;
  readonly client: RankClient;
  /** Ranks that take no pages for what is known of their pods and nodes. */
  readonly closed: ReadonlySet<string>;
}

/** A sentence when no rank answers. */
export async function observePool(
  context: RebalancerContext,
  pool: DecodePool,
  signal: AbortSignal,
): Promise<PoolView | string> {
  const memory = context.memories.of(pool.metadata.uid);
  const pods = context.pods.byIndex(podIndex.owner, pool.metadata.uid);
  const sources = { node: (name: string) => context.nodes.get(name), nowMs: context.nowMs() };
  const ranks = pods
    .map((pod) => rankPodView(pod, sources))
    .filter((pod) => podRuns(pod) && pod.deletingForMs === undefined)
    .sort((a, b) => likely(b.rankId, memory.coordinator) - likely(a.rankId, memory.coordinator))
    .slice(0, mostAsked);
  const client = await context.rankClients.of(pool.metadata.namespace ?? "", pool.spec.controlTokenSecret);
  const failures: string[] = [];
  for (const rank of ranks) {
    try {
      const inventory = await client.inventory(rankRef(rank), { deadlineMs: askDeadlineMs, signal });
      memory.coordinator = inventory.coordinator.rankId;
      return { inventory, client, closed: closedRanks(context, pods) };
    } catch (error) {
      failures.push(`${rank.rankId}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return failures.length === 0 ? "no rank of the pool runs" : failures.join("; ");
}

function likely(rankId: string, coordinator: string | undefined): number {
  return rankId === coordinator ? 1 : 0;
}

function closedRanks(context: RebalancerContext, pods: readonly Pod[]): ReadonlySet<string> {
  const closed = pods.filter((pod) => {
    const cordoned = context.nodes.get(nodeOf(pod) ?? "")?.spec?.unschedulable === true;
    return cordoned || pod.metadata.deletionTimestamp !== undefined || drainMark(pod) !== undefined;
  });
  return new Set(closed.map((pod) => pod.metadata.name));
}
