/** `kv`: where the KV of a decode pool lies and how hot each rank is, by the engines' own inventory. */
import type { PoolInventory } from "../../../runtime/wire/schema/move.ts";
import { imbalance, poolLoads, type Quantity } from "../../planning/rebalance/load.ts";
import { rebalancePolicy } from "../../planning/rebalance/policy.ts";
import { poolSnapshot } from "../../ranks/poolSnapshot.ts";
import { exitCode } from "../exitCode.ts";
import type { Report } from "../output/report.ts";
import { type Cell, heading, indent, type Paint, table } from "../output/table.ts";
import type { PoolLook } from "../pool.ts";

interface RankHeat {
  readonly rankId: string;
  readonly node: string;
  readonly pagesHeld: number;
  readonly pagesTotal: number;
  readonly scanBytesPerStep: number;
  /** Requests that it computes, and requests of which it holds pages. */
  readonly homes: number;
  readonly holds: number;
  readonly draining: boolean;
}

interface KvReport {
  readonly pool: string;
  readonly epoch: number;
  readonly coordinator: string;
  readonly pageBytes: number;
  readonly stepMs: number;
  readonly imbalance: Readonly<Record<Quantity, number>>;
  readonly ranks: readonly RankHeat[];
  readonly requests: PoolInventory["requests"];
  readonly moves: PoolInventory["moves"];
}

export async function kv(look: PoolLook): Promise<Report> {
  const data = kvReport(look, await look.inventory());
  return { data, text: (paint) => page(data, paint), exit: exitCode.done };
}

function kvReport({ pool, pods }: PoolLook, inventory: PoolInventory): KvReport {
  const snapshot = { ...poolSnapshot(inventory, { admits: () => true, ordered: [] }), moves: [] };
  const policy = rebalancePolicy(pool.spec.rebalance, pool.spec.engine.backend);
  const loads = [...poolLoads(snapshot, policy).values()];
  const nodes = new Map(pods.map((pod) => [pod.metadata.name, pod.spec?.nodeName ?? ""]));
  return {
    pool: inventory.group,
    epoch: inventory.epoch,
    coordinator: inventory.coordinator.rankId,
    pageBytes: inventory.pageBytes,
    stepMs: inventory.stepMs,
    imbalance: { scan: imbalance(loads, "scan"), memory: imbalance(loads, "memory") },
    ranks: inventory.ranks.map((rank) => ({
      rankId: rank.rankId,
      node: nodes.get(rank.rankId) ?? "",
      pagesHeld: rank.pagesTotal - rank.pagesFree,
      pagesTotal: rank.pagesTotal,
      scanBytesPerStep: rank.scanBytesPerStep,
      homes: inventory.requests.filter((request) => request.home === rank.rankId).length,
      holds: inventory.requests.filter((request) =>
        request.shards.some((shard) => shard.rankId === rank.rankId),
      ).length,
      draining: rank.draining,
    })),
    requests: inventory.requests,
    moves: inventory.moves,
  };
}

function page(data: KvReport, paint: Paint): string {
  const above = (quantity: Quantity): string => `${percent(data.imbalance[quantity])} above the mean`;
  const ranks = table(
    ["RANK", "NODE", "PAGES", "FULL", "SCAN/STEP", "HOMES", "HOLDS", "STATE"],
    data.ranks.map((rank): Cell[] => [
      rank.rankId,
      rank.node === "" ? "-" : rank.node,
      `${String(rank.pagesHeld)}/${String(rank.pagesTotal)}`,
      percent(rank.pagesHeld / Math.max(1, rank.pagesTotal)),
      mebibytes(rank.scanBytesPerStep),
      String(rank.homes),
      String(rank.holds),
      rank.draining ? { text: "draining", tone: "open" } : { text: "open", tone: "good" },
    ]),
    paint,
  );
  return [
    `${data.pool}: epoch ${String(data.epoch)}, coordinator ${data.coordinator}, pages of ${mebibytes(data.pageBytes)}, a step takes ${data.stepMs.toFixed(1)} ms`,
    `The slowest scan is ${above("scan")}, the fullest memory ${above("memory")}.`,
    paint(heading("Ranks")),
    indent(ranks),
    paint(heading("Requests")),
    indent(requestTable(data, paint)),
    paint(heading("Moves")),
    indent(moveTable(data, paint)),
  ].join("\n");
}

function requestTable({ requests }: KvReport, paint: Paint): string {
  if (requests.length === 0) return "none";
  return table(
    ["REQUEST", "HOME", "WRITTEN", "LEFT", "LIES ON"],
    requests.map((request) => [
      request.requestId,
      request.home,
      String(request.writtenPages),
      `${String(request.remainingTokens)} tokens`,
      request.shards.map(({ rankId, pages }) => `${rankId} ${String(pages)}`).join(", "),
    ]),
    paint,
  );
}

function moveTable({ moves }: KvReport, paint: Paint): string {
  if (moves.length === 0) return "none in the last ten minutes";
  return table(
    ["REQUEST", "FROM", "TO", "PAGES", "PHASE", "AGE", "WHY"],
    moves.map((move): Cell[] => [
      move.requestId,
      move.from,
      move.to,
      String(move.pages),
      { text: move.phase, tone: move.phase === "committed" ? "good" : "open" },
      `${String(Math.round(move.ageMs / 1000))}s`,
      move.reason,
    ]),
    paint,
  );
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
