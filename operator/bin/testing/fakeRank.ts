/** Ranks played by the test: real HTTP servers that speak the control API and form epochs among themselves. */
import http from "node:http";
import { engineMetrics } from "../../../runtime/wire/engineMetrics.ts";
import type { RankRef } from "../../../runtime/wire/schema/identity.ts";
import {
  roster,
  type RankPhase,
  type RankState,
  type Roster,
} from "../../../runtime/wire/schema/membership.ts";
import { moveCancel, moveOrder } from "../../../runtime/wire/schema/move.ts";
import type { FakePool } from "./fakePool.ts";
import { controlPort, transferPort } from "../../ranks/names.ts";

export interface RankIdentity {
  readonly rankId: string;
  readonly incarnation: string;
  readonly address: string;
  readonly group: string;
  readonly role: "prefill" | "decode";
  readonly deployment: string;
  readonly namespace: string;
}

export class FakeRank {
  readonly identity: RankIdentity;
  phase: RankPhase = "loading";
  reason = "";
  epoch = 0;
  epochMembers: string[] = [];
  coordinator: RankRef | undefined;
  roster: Roster | undefined;
  /** The KV of its pool; every rank of a pool has the same. */
  pool: FakePool | undefined;
  /** Overrides what it says of itself. */
  readonly says: Partial<RankState> = {};
  /** Replaces what its metrics would say, by name. */
  readonly lies = new Map<string, string>();
  /** Every roster that it was sent and took. */
  readonly rosters: Roster[] = [];
  /** Requests that carried another token than this are refused. */
  readonly #token: string;
  readonly #server: http.Server;
  readonly #joined: (rank: FakeRank) => void;

  constructor(identity: RankIdentity, token: string, joined: (rank: FakeRank) => void) {
    this.identity = identity;
    this.#token = token;
    this.#joined = joined;
    this.#server = http.createServer((request, response) => {
      // Open to whoever scrapes.
      if (request.url === "/metrics") {
        response.writeHead(200, { "content-type": "text/plain" }).end(this.#metrics());
        return;
      }
      void this.#answer(request).then(
        ([status, body]) => {
          response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
        },
        // Whoever asked has gone in the middle of it.
        () => response.destroy(),
      );
    });
  }

  get ref(): RankRef {
    const { rankId, incarnation, address } = this.identity;
    return { rankId, incarnation, address, controlPort, transferPort };
  }

  /** The model is loaded as soon as the port is open. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(controlPort, this.identity.address, resolve);
    });
    this.phase = "awaitingRoster";
  }

  async stop(): Promise<void> {
    this.phase = "failed";
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: http.IncomingMessage): Promise<[number, unknown]> {
    if (request.headers.authorization !== `Bearer ${this.#token}`) {
      return [401, { code: "unauthorized", message: "another token was expected" }];
    }
    if (request.url === "/v1/state") return [200, this.#state()];
    if (request.url === "/v1/roster") return this.#takeRoster(roster.parse(JSON.parse(await text(request))));
    if (request.url === "/v1/drain") return this.#drain();
    if (this.pool !== undefined && this.coordinator !== undefined) return this.#move(request, this.pool);
    return [404, { code: "bad_request", message: `no such path ${request.url ?? ""}` }];
  }

  /** It holds nothing, or its pool takes what it holds within a tick. */
  #drain(): [number, unknown] {
    this.phase = "draining";
    this.pool?.closed.add(this.identity.rankId);
    return [200, {}];
  }

  async #move(request: http.IncomingMessage, pool: FakePool): Promise<[number, unknown]> {
    const coordinator = this.coordinator;
    if (coordinator === undefined || coordinator.incarnation !== this.identity.incarnation)
      return [409, { code: "not_coordinator", message: "another rank coordinates", coordinator }];
    if (request.url === "/v1/inventory") return [200, pool.inventory(this.identity.group, this.ref)];
    const body: unknown = JSON.parse(await text(request));
    if (request.url === "/v1/move") {
      const order = moveOrder.parse(body);
      if (order.fence < pool.fence)
        return [409, { code: "stale_fence", message: "a newer leader was heard" }];
      return [200, pool.order(order)];
    }
    const state = pool.cancel(moveCancel.parse(body).moveId);
    return state === undefined ? [404, { code: "unknown_request", message: "no such move" }] : [200, state];
  }

  /** What its process does by itself, every now and then. */
  tick(ms: number): void {
    if (this.coordinator?.incarnation === this.identity.incarnation) this.pool?.tick(ms);
    const held = this.pool?.heldPages(this.identity.rankId) ?? 0;
    if (this.phase === "draining" && held === 0) this.phase = "drained";
  }

  #takeRoster(given: Roster): [number, unknown] {
    const held = this.roster;
    const stale =
      held !== undefined &&
      (given.fence < held.fence || (given.fence === held.fence && given.generation < held.generation));
    if (stale) return [409, { code: "stale_fence", message: "a newer roster is held" }];
    this.roster = given;
    this.rosters.push(given);
    this.#joined(this);
    return [200, this.#state()];
  }

  #metrics(): string {
    const state = this.#state();
    const { rank, role, group, deployment } = state;
    const labels = { rank_id: rank.rankId, incarnation: rank.incarnation, role, group, deployment };
    const identity = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
    const lines = Object.entries(gaugesOf(state)).map(([key, value]) => {
      const { name } = engineMetrics[key as keyof typeof engineMetrics];
      const own = key === "rankInfo" ? `{${identity.join(",")}}` : "";
      return `${name}${own} ${this.lies.get(name) ?? value}`;
    });
    return `${lines.join("\n")}\n`;
  }

  #state(): RankState {
    return {
      rank: this.ref,
      role: this.identity.role,
      deployment: this.identity.deployment,
      group: this.identity.group,
      phase: this.phase,
      reason: this.reason,
      fence: this.roster?.fence ?? 0,
      generation: this.roster?.generation ?? 0,
      epoch: this.epoch,
      epochMembers: this.epochMembers,
      ...(this.coordinator === undefined ? {} : { coordinator: this.coordinator }),
      model: "m",
      kvFormat: "f",
      contextLength: 1024,
      pageTokens: 64,
      pagesTotal: 8,
      pagesFree: 8,
      heldPages: this.pool?.heldPages(this.identity.rankId) ?? 0,
      poolPagesTotal: 16,
      poolPagesFree: 16,
      running: 0,
      waiting: 0,
      lastBreak: "",
      ...this.says,
    };
  }
}

/** The same as the engine makes of its state. */
function gaugesOf(state: RankState): Readonly<Record<keyof typeof engineMetrics, number>> {
  const { load } = state;
  return {
    rankInfo: 1,
    coordinates: state.coordinator?.incarnation === state.rank.incarnation ? 1 : 0,
    pages: state.pagesTotal,
    pagesFree: state.pagesFree,
    pagesHeld: state.heldPages ?? 0,
    pageTokens: state.pageTokens,
    poolPages: state.poolPagesTotal,
    poolPagesFree: state.poolPagesFree,
    waitingPromptTokens: load?.waitingPromptTokens ?? 0,
    runningPromptTokens: load?.runningPromptTokens ?? 0,
    oldestWait: (load?.oldestWaitMs ?? 0) / 1000,
  };
}

/**
 * What the ranks of one group do among themselves: those that live and hold the newest roster form the next epoch,
 * if they are more than half of it.
 */
export function formEpoch(ranks: readonly FakeRank[]): void {
  const newest = ranks.reduce<Roster | undefined>(
    (top, rank) => ((rank.roster?.generation ?? 0) > (top?.generation ?? 0) ? rank.roster : top),
    undefined,
  );
  if (newest === undefined) return;
  const members = newest.members.flatMap(
    (member) =>
      ranks.find(
        (rank) =>
          rank.identity.incarnation === member.incarnation &&
          !["failed", "draining", "drained"].includes(rank.phase) &&
          rank.roster?.generation === newest.generation,
      ) ?? [],
  );
  const [lowest] = members;
  if (lowest === undefined || members.length * 2 <= newest.members.length) {
    for (const rank of members) rank.phase = "forming";
    return;
  }
  const epoch = Math.max(...ranks.map((rank) => rank.epoch)) + 1;
  for (const rank of members) {
    rank.phase = "serving";
    rank.epoch = epoch;
    rank.epochMembers = members.map((member) => member.identity.rankId);
    rank.coordinator = lowest.ref;
  }
}

async function text(request: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
