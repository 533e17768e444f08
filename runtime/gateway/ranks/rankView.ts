/**
 * The gateway's picture of the ranks: polls each rank's state about once a second and forgets what is old. Reads
 * are from memory and never wait.
 */
import type { ClusterState } from "../../state/clusterState.ts";
import type { RankClient } from "../../wire/rankClient.ts";
import type { RankEndpoint } from "../../wire/rankEndpoint.ts";
import type { RankState } from "../../wire/schema/membership.ts";
import type { FindRanks } from "./addresses.ts";
import type { ServingGroup, Sighting } from "./groups.ts";
import { freshMs, servingGroups } from "./groups.ts";

export interface RankView {
  groups(): ServingGroup[];
  /** States seen lately, whatever their phase. */
  states(): RankState[];
  /** For how long the rank has not been seen in the pod that it was in. */
  unseenMs(rank: { readonly rankId: string; readonly incarnation: string }): number;
  /** A call to the rank failed: it is not offered again before it has been seen anew, which is tried at once. */
  suspect(rankId: string): void;
  /** Resolves when a rank is seen next, or after `ms`. */
  changed(ms: number, signal?: AbortSignal): Promise<void>;
  start(): void;
  stop(): void;
  /** One round of polling; for tests and the first one. */
  poll(): Promise<void>;
}

export interface RankViewSettings {
  readonly client: RankClient;
  readonly find: FindRanks;
  /** Ranks that Redis knows of and DNS does not name yet. */
  readonly clusterState?: ClusterState;
  readonly now: () => number;
  readonly periodMs?: number;
  readonly warn: (message: string, detail: Record<string, unknown>) => void;
}

const stateWithinMs = 3_000;
const soonMs = 100;

export function createRankView(settings: RankViewSettings): RankView {
  const { client, now, periodMs = 1_000 } = settings;
  const sightings = new Map<string, Sighting>();
  const since = new Map<string, { epoch: number; ms: number }>();
  let endpoints: RankEndpoint[] = [];
  let waiters: (() => void)[] = [];
  let timer: NodeJS.Timeout | undefined;
  let running = false;
  let polling: Promise<void> | undefined;

  async function find(): Promise<void> {
    const [named, reported] = await Promise.allSettled([settings.find(), settings.clusterState?.listRanks()]);
    // When the name cannot be resolved, the addresses of before are still the best guess.
    if (named.status === "rejected")
      settings.warn("ranks not found by name", { reason: String(named.reason) });
    const byName = named.status === "fulfilled" ? named.value : endpoints;
    const answer = reported.status === "fulfilled" ? reported.value : undefined;
    const byReport = answer?.ok === true ? answer.value.map(({ rank }) => rank) : [];
    const all = [...byName, ...byReport].map(({ address, controlPort }) => ({ address, controlPort }));
    endpoints = [
      ...new Map(
        all.map((endpoint) => [`${endpoint.address} ${String(endpoint.controlPort)}`, endpoint]),
      ).values(),
    ];
  }

  async function look(endpoint: RankEndpoint): Promise<void> {
    try {
      const state = await client.state(endpoint, { deadlineMs: stateWithinMs });
      sightings.set(state.rank.rankId, { state, seenMs: now(), suspect: false });
      if (since.get(state.group)?.epoch !== state.epoch)
        since.set(state.group, { epoch: state.epoch, ms: now() });
      wake();
    } catch {
      // Not there, not ready or too slow: its last state grows old and is forgotten below.
    }
  }

  async function pollOnce(): Promise<void> {
    await find();
    await Promise.all(endpoints.map(look));
    for (const [rankId, { seenMs }] of sightings) if (now() - seenMs > 4 * freshMs) sightings.delete(rankId);
  }

  function wake(): void {
    const woken = waiters;
    waiters = [];
    for (const wakeOne of woken) wakeOne();
  }

  function poll(): Promise<void> {
    polling ??= pollOnce().finally(() => {
      polling = undefined;
    });
    return polling;
  }

  function schedule(ms: number): void {
    clearTimeout(timer);
    if (!running) return;
    timer = setTimeout(() => {
      void poll().finally(() => {
        schedule(periodMs);
      });
    }, ms);
  }

  const fresh = (sighting: Sighting): boolean => now() - sighting.seenMs <= freshMs;

  return {
    groups: () => servingGroups(sightings.values(), now(), (group) => since.get(group)?.ms ?? now()),
    states: () => [...sightings.values()].filter(fresh).map(({ state }) => state),
    unseenMs({ rankId, incarnation }) {
      const sighting = sightings.get(rankId);
      return sighting?.state.rank.incarnation === incarnation
        ? now() - sighting.seenMs
        : Number.POSITIVE_INFINITY;
    },
    suspect(rankId) {
      const sighting = sightings.get(rankId);
      if (sighting !== undefined) sightings.set(rankId, { ...sighting, suspect: true });
      schedule(soonMs);
    },
    changed: (ms, signal) =>
      new Promise((resolve) => {
        const go = (): void => {
          clearTimeout(limit);
          signal?.removeEventListener("abort", go);
          waiters = waiters.filter((waiter) => waiter !== go);
          resolve();
        };
        const limit = setTimeout(go, ms);
        signal?.addEventListener("abort", go, { once: true });
        waiters.push(go);
      }),
    start() {
      running = true;
      schedule(0);
    },
    stop() {
      running = false;
      clearTimeout(timer);
    },
    poll,
  };
}
