/** Asks the engines of a gang for their state and tells them their roster, in parallel and with deadlines. */
import { createRankClient, type RankClient } from "../../runtime/wire/rankClient.ts";
import type { RankRef } from "../../runtime/wire/schema/identity.ts";
import type { RankState, Roster } from "../../runtime/wire/schema/membership.ts";
import type { EngineReport, RankPod } from "../planning/gang/observed.ts";
import { podRuns } from "../planning/gang/roster.ts";
import { controlPort, transferPort } from "./names.ts";

const askDeadlineMs = 2_000;
const rosterDeadlineMs = 5_000;

/** Bearer token of a deployment's control API, by namespace and name of its Secret; empty when there is none. */
export type ReadToken = (namespace: string, secret: string) => Promise<string>;

const tokenAgeMs = 60_000;

interface Known {
  readonly client: RankClient;
  token: string;
  readAtMs: number;
}

/** One client per control token. The token is read again each minute, so that it can be rotated. */
export class RankClients {
  readonly #clients = new Map<string, Known>();
  readonly #readToken: ReadToken;
  readonly #nowMs: () => number;

  constructor(readToken: ReadToken, nowMs: () => number) {
    this.#readToken = readToken;
    this.#nowMs = nowMs;
  }

  async of(namespace: string, secret: string): Promise<RankClient> {
    const key = `${namespace}/${secret}`;
    const known = this.#clients.get(key);
    if (known !== undefined && known.token !== "" && this.#nowMs() - known.readAtMs < tokenAgeMs)
      return known.client;
    const token = await this.#readToken(namespace, secret);
    const entry = known ?? this.#add(key, token);
    entry.token = token;
    entry.readAtMs = this.#nowMs();
    return entry.client;
  }

  #add(key: string, token: string): Known {
    const entry: Known = {
      client: createRankClient({ token: () => entry.token }),
      token,
      readAtMs: this.#nowMs(),
    };
    this.#clients.set(key, entry);
    return entry;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map(({ client }) => client.close()));
    this.#clients.clear();
  }
}

export function rankRef(pod: RankPod): RankRef {
  const { rankId, uid: incarnation, address = "" } = pod;
  return { rankId, incarnation, address, controlPort, transferPort };
}

/** Reports by rankId, of those that answered as the pod's present incarnation. */
export async function askEngines(
  client: RankClient,
  pods: readonly RankPod[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, EngineReport>> {
  const reports = await Promise.all(
    pods.filter(podRuns).map(async (pod) => {
      try {
        const state = await client.state(rankRef(pod), { deadlineMs: askDeadlineMs, signal });
        return state.rank.incarnation === pod.uid ? reportOf(state) : undefined;
      } catch {
        // Silence is an answer: the plan counts for how long.
        return undefined;
      }
    }),
  );
  return new Map(
    reports.flatMap((report) => (report === undefined ? [] : [[report.rankId, report] as const])),
  );
}

export interface RosterDelivery {
  /** States of the ranks that took it. */
  readonly reports: readonly EngineReport[];
  /** Sentences, one per rank that did not. */
  readonly failures: readonly string[];
}

export async function tellRoster(
  client: RankClient,
  targets: readonly RankRef[],
  roster: Roster,
  signal: AbortSignal,
): Promise<RosterDelivery> {
  const outcomes = await Promise.all(
    targets.map(async (target) => {
      try {
        return reportOf(await client.roster(target, roster, { deadlineMs: rosterDeadlineMs, signal }));
      } catch (error) {
        return `${target.rankId}: ${error instanceof Error ? error.message : String(error)}`;
      }
    }),
  );
  return {
    reports: outcomes.filter((one) => typeof one !== "string"),
    failures: outcomes.filter((one) => typeof one === "string"),
  };
}

function reportOf(state: RankState): EngineReport {
  return {
    rankId: state.rank.rankId,
    incarnation: state.rank.incarnation,
    phase: state.phase,
    reason: state.reason,
    fence: state.fence,
    generation: state.generation,
    epoch: state.epoch,
    epochMembers: state.epochMembers,
    coordinator: state.coordinator?.rankId,
    busy: state.running > 0 || state.pagesFree < state.pagesTotal,
    heldPages: state.heldPages ?? state.pagesTotal - state.pagesFree,
    kvFormat: state.kvFormat,
  };
}
