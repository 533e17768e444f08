/**
 * Where the ranks of one group go.
 *
 *   candidates = domains that hold all missing ranks, inside the required level, around the living ranks
 *   choice     = the narrowest level; there: fewest sibling groups in the same failure domain,
 *                nearest to the peers, least left over, then the name
 *   nodes      = the fewest sub-domains: the roomiest first, the rest into the tightest that holds it
 *
 * Deterministic: equal snapshots and requests give equal decisions. `preferred` never forbids: candidates are
 * tried narrow to broad in any case, and a place broader than the preferred level is said to be so.
 */
import { clusterLevel, levelIndex } from "../topology/level.ts";
import { ancestors, type Domain, domainName, sumUp, type TopologyTree } from "../topology/tree.ts";
import { nodeFit, type NodeFit, type RankShape } from "./eligibility.ts";
import type { Cluster } from "./cluster.ts";
import { excludedNodes, shortfall } from "./refusal.ts";
import { failureDomains, nearness } from "./neighbours.ts";
import { assignNodes } from "./assign.ts";

export interface PlacementRequest {
  readonly shape: RankShape;
  /** Ranks to place now. */
  readonly ranks: number;
  readonly required?: string | undefined;
  readonly preferred?: string | undefined;
  /** Nodes of the group's living ranks: the new ones join them. */
  readonly stayWith: readonly string[];
  /** Nodes of the pods to be near: the decode pool for a prefill group, and the reverse. */
  readonly near: readonly string[];
  /** Nodes of each sibling group, to be spread over failure domains. */
  readonly siblings: readonly (readonly string[])[];
}

export type PlacementDecision =
  | {
      readonly placed: true;
      /** One node per rank, neighbours beside each other. */
      readonly nodes: readonly string[];
      /** `rack=r1` of the smallest domain that holds the whole group. */
      readonly domain: string;
      readonly choice: string;
      readonly refusals: readonly string[];
    }
  | {
      readonly placed: false;
      readonly reason: "UnknownLevel" | "NoRoom" | "NoRoomBesideGroup";
      readonly choice: string;
      readonly refusals: readonly string[];
    };

export function planPlacement(cluster: Cluster, request: PlacementRequest): PlacementDecision {
  const { snapshot, tree } = cluster;
  const fits = snapshot.map((node) => nodeFit(node, request.shape));
  const room = sumUp(tree, (node) => fits[node]?.ranks ?? 0);
  const broadest = broadestLevel(tree, request.required);
  if (broadest === undefined) return unknownLevel(request.required ?? "");

  const reachable = allowedDomains(cluster, request, broadest);
  const roomy = reachable.filter((domain) => (room[domain.index] ?? 0) >= request.ranks);
  const refusals = refusedDomains(reachable, room, request.ranks);
  if (roomy.length === 0) return refuse(cluster, request, { fits, room, reachable, broadest, refusals });

  const narrowest = Math.min(...roomy.map((domain) => domain.level));
  const equals = roomy.filter((domain) => domain.level === narrowest);
  const [best] = rank(cluster, request, equals, room);
  if (best === undefined) return refuse(cluster, request, { fits, room, reachable, broadest, refusals });
  const nodes = assignNodes(tree, best, request.ranks, room).map((index) => snapshot[index]?.name ?? "");
  return {
    placed: true,
    nodes,
    domain: best.parent < 0 ? clusterLevel.name : `${best.levelName}=${best.value}`,
    choice: chosen(tree, best, request, room[best.index] ?? 0),
    refusals,
  };
}

function broadestLevel(tree: TopologyTree, required: string | undefined): number | undefined {
  if (required === undefined || required === clusterLevel.name) return tree.levels.length;
  const level = levelIndex(tree.levels, required);
  return level !== undefined && tree.domains.some((domain) => domain.level === level) ? level : undefined;
}

/** Domains that lie in one of the required level and contain every living rank of the group. */
function allowedDomains(cluster: Cluster, request: PlacementRequest, broadest: number): readonly Domain[] {
  const { snapshot, tree } = cluster;
  const living = snapshot.flatMap((node, index) =>
    request.stayWith.includes(node.name) ? [new Set(ancestors(tree, tree.leafOfNode[index] ?? 0))] : [],
  );
  return tree.domains.filter((domain) => {
    if (domain.level > broadest) return false;
    const inside = ancestors(tree, domain.index).some((index) => tree.domains[index]?.level === broadest);
    return inside && living.every((chain) => chain.has(domain.index));
  });
}

function rank(
  cluster: Cluster,
  request: PlacementRequest,
  equals: readonly Domain[],
  room: readonly number[],
): readonly Domain[] {
  const score = new Map(
    equals.map((domain) => [
      domain,
      [
        failureDomains(cluster, domain, request.siblings),
        nearness(cluster, domain, request.near),
        room[domain.index] ?? 0,
      ],
    ]),
  );
  return [...equals].sort((a, b) => {
    const [left, right] = [score.get(a) ?? [], score.get(b) ?? []];
    const at = left.findIndex((value, index) => value !== right[index]);
    return at >= 0 ? (left[at] ?? 0) - (right[at] ?? 0) : a.value < b.value ? -1 : 1;
  });
}

interface Search {
  readonly fits: readonly NodeFit[];
  readonly room: readonly number[];
  readonly reachable: readonly Domain[];
  readonly broadest: number;
  readonly refusals: readonly string[];
}

function refuse(cluster: Cluster, request: PlacementRequest, search: Search): PlacementDecision {
  const best = search.reachable
    .filter((domain) => domain.level === search.broadest)
    .reduce<Domain | undefined>(
      (top, one) =>
        top === undefined || (search.room[one.index] ?? 0) > (search.room[top.index] ?? 0) ? one : top,
      undefined,
    );
  const beside = request.stayWith.length > 0;
  const named = best === undefined ? "any domain" : domainName(best);
  const where = beside
    ? `${named}, where the group's other ranks are`
    : best?.parent === -1
      ? named
      : `the best ${named}`;
  const count = shortfall(best === undefined ? 0 : (search.room[best.index] ?? 0), request.ranks, where);
  const excluded = excludedNodes(cluster.snapshot, search.fits);
  return {
    placed: false,
    reason: beside ? "NoRoomBesideGroup" : "NoRoom",
    choice: excluded === "" ? count : `${count}; ${excluded}`,
    refusals: search.refusals,
  };
}

function unknownLevel(named: string): PlacementDecision {
  const choice = `no node carries a label of the required level "${named}"`;
  return { placed: false, reason: "UnknownLevel", choice, refusals: [] };
}

function chosen(tree: TopologyTree, best: Domain, request: PlacementRequest, room: number): string {
  const preferred = request.preferred === undefined ? undefined : levelIndex(tree.levels, request.preferred);
  const broader = preferred !== undefined && best.level > preferred;
  const wish = broader ? `; no ${request.preferred ?? ""} had room for all` : "";
  const ranks = request.ranks === 1 ? "1 rank" : `${String(request.ranks)} ranks`;
  return `${ranks} in ${domainName(best)}, the smallest domain that holds them (room for ${String(room)})${wish}`;
}

/** Sentences for the multi-node candidates that were too small, at most five. */
function refusedDomains(
  reachable: readonly Domain[],
  room: readonly number[],
  ranks: number,
): readonly string[] {
  return reachable
    .filter((domain) => domain.level > 0 && (room[domain.index] ?? 0) < ranks)
    .slice(0, 5)
    .map((domain) => shortfall(room[domain.index] ?? 0, ranks, domainName(domain)));
}
