/** `rebalance`: what the planner would move in a pool now, or a request to the operator to look at once. */
import { mergePatch } from "../../kube/apply.ts";
import type { Cluster } from "../../kube/cluster.ts";
import type { DecodePool } from "../../kube/object.ts";
import { decodePools } from "../../kube/resource.ts";
import type { RebalanceDecision } from "../../planning/rebalance/decision.ts";
import { planRebalance } from "../../planning/rebalance/plan.ts";
import { rebalancePolicy } from "../../planning/rebalance/policy.ts";
import { rebalanceAnnotation, rebalanceAskedMs } from "../../ranks/rebalanceMark.ts";
import { poolSnapshot } from "../../ranks/poolSnapshot.ts";
import { exitCode } from "../exitCode.ts";
import type { Report } from "../output/report.ts";
import { type Paint, table } from "../output/table.ts";
import type { PoolLook } from "../pool.ts";

export async function planRebalanceOf(look: PoolLook): Promise<Report> {
  const inventory = await look.inventory();
  const draining = new Set(inventory.ranks.filter((rank) => rank.draining).map((rank) => rank.rankId));
  const snapshot = poolSnapshot(inventory, { admits: (rankId) => !draining.has(rankId), ordered: [] });
  const policy = rebalancePolicy(look.pool.spec.rebalance, look.pool.spec.engine.backend);
  const decision = planRebalance(snapshot, policy);
  return {
    data: { pool: look.pool.metadata.name, decision },
    text: (paint) => `${planned(decision, paint)}\nNothing was changed.`,
    exit: exitCode.done,
  };
}

export async function askRebalance(cluster: Cluster, pool: DecodePool, nowMs: number): Promise<Report> {
  const at = new Date(nowMs).toISOString();
  const annotations = { [rebalanceAnnotation]: at };
  await mergePatch(cluster, decodePools, pool, { metadata: { annotations } });
  const { name } = pool.metadata;
  const off = pool.spec.rebalance.mode === "Disabled";
  const minutes = String(rebalanceAskedMs / 60_000);
  const told = off
    ? `${name} is balanced for ${minutes} min although its mode is Disabled.`
    : `The operator looks at ${name} at once.`;
  return { data: { pool: name, asked: at }, text: () => told, exit: exitCode.done };
}

function planned({ choice, moves, refusals }: RebalanceDecision, paint: Paint): string {
  const rows = moves.map((move) => [
    move.requestId,
    move.from,
    move.to,
    `${String(move.firstPage)}-${String(move.firstPage + move.pages - 1)}`,
    `${(move.bytes / 2 ** 20).toFixed(1)} MiB`,
  ]);
  const list = rows.length === 0 ? [] : [table(["REQUEST", "FROM", "TO", "PAGES", "BYTES"], rows, paint)];
  return [`${choice}.`, ...list, ...refusals.map((one) => `refused: ${one}`)].join("\n");
}
