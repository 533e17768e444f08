/** A whole gateway on loopback before fake ranks, with official clients made for it; for component tests. */
import OpenAI from "openai";
import type { ModelDescriptor } from "../../wire/schema/model.ts";
import { createRankClient } from "../../wire/rankClient.ts";
import { classOf, type LengthClass, oneClass } from "../demand/lengthClass.ts";
import { createWaitingRoom } from "../demand/waitingRoom.ts";
import { createApp } from "../app.ts";
import type { ApiKeys } from "../http/apiKeys.ts";
import { openToAll } from "../http/apiKeys.ts";
import { silentLog } from "../log.ts";
import { createMetrics } from "../metrics.ts";
import { rankFinder } from "../ranks/addresses.ts";
import { createModelSource } from "../ranks/modelSource.ts";
import type { RankView } from "../ranks/rankView.ts";
import { createRankView } from "../ranks/rankView.ts";
import type { DegreeTable } from "../../state/domain.ts";
import { degreeWanted, exactWanted } from "../ranks/degrees.ts";
import { createAdmission } from "../serving/admission.ts";
import { countRecoveries } from "../serving/recovery.ts";
import type { Patience } from "../serving/generation.ts";
import { serve } from "../serve.ts";
import type { Serving } from "../serve.ts";
import type { FakeRank, FakeRankSettings, FakeWorld } from "./fakeRank.ts";
import { startFakeRank } from "./fakeRank.ts";
import { scriptOf, tinyDescriptor } from "./tinyModel.ts";

export interface BenchSettings {
  readonly answer?: string;
  readonly descriptor?: Partial<ModelDescriptor>;
  readonly ranks?: readonly FakeRankSettings[];
  readonly patience?: Partial<Patience>;
  readonly keys?: ApiKeys;
  readonly maxBodyBytes?: number;
  readonly openStreamMs?: number;
  readonly classes?: readonly LengthClass[];
  /** The operator's degree table; absent: none is known. */
  readonly degrees?: DegreeTable;
  readonly wake?: { readonly waitMs: number; readonly maxWaiting: number };
}

export interface Bench {
  readonly url: string;
  readonly world: FakeWorld;
  readonly view: RankView;
  readonly server: Serving;
  /** By name. */
  rank(name: string): FakeRank;
  openai(apiKey?: string): OpenAI;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  metric(name: string): Promise<string | undefined>;
  /** Causes of the recoveries so far. */
  readonly recoveries: string[];
  close(): Promise<void>;
}

export const onePair: readonly FakeRankSettings[] = [
  { name: "m-prefill-0-0", group: "m-prefill-0", role: "prefill" },
  { name: "m-decode-0", group: "m-decode", role: "decode" },
];

const testPatience: Patience = {
  queueMs: 20_000,
  stallMs: 20_000,
  attempts: 4,
  prefillIdleMs: 20_000,
  decodeIdleMs: 20_000,
  unseenMs: 10_000,
};

export async function startBench(settings: BenchSettings = {}): Promise<Bench> {
  const descriptor = tinyDescriptor(settings.descriptor);
  const script = scriptOf(settings.answer ?? "Hello there, wörld 🙂!");
  const world: FakeWorld = { descriptor, script, kv: new Map(), tokenMs: 0 };
  const ranks = new Map<string, FakeRank>();
  for (const each of settings.ranks ?? onePair) ranks.set(each.name, await startFakeRank(world, each));
  const client = createRankClient({ token: () => "token" });
  const hosts = [...ranks.values()].map((rank) => `${rank.address}:${String(rank.controlPort)}`).join(",");
  const recoveries: string[] = [];
  const metrics = createMetrics(settings.classes);
  const counted = countRecoveries(metrics, Date.now);
  const view = createRankView({
    client,
    find: rankFinder(hosts === "" ? "127.0.0.1:1" : hosts, 9000),
    now: Date.now,
    periodMs: 100,
    warn: () => undefined,
  });
  const waitingRoom = createWaitingRoom({
    view,
    demand: metrics.demand,
    now: Date.now,
    ...(settings.wake ?? { waitMs: 0, maxWaiting: 1 }),
  });
  let draining = false;
  const app = createApp({
    generation: {
      client,
      view,
      admission: createAdmission({
        client,
        view,
        now: Date.now,
        wantedDegree: (tokens) => degreeWanted(settings.degrees ?? [], tokens),
        exact: (tokens) => exactWanted(settings.degrees ?? [], tokens),
        ttftMs: (tokens) => classOf(settings.classes ?? oneClass, tokens)?.ttftMs,
        awake: (signal) => waitingRoom.pass(signal),
      }),
      patience: { ...testPatience, ...settings.patience },
      recovered: (recovery) => {
        recoveries.push(recovery.cause);
        return counted(recovery);
      },
    },
    model: createModelSource(client, view, () => undefined),
    metrics,
    waitingRoom,
    nowSeconds: () => 1_700_000_000,
    startedSeconds: 1_700_000_000,
    openStreamMs: settings.openStreamMs ?? 5_000,
    modelName: descriptor.name,
    keys: settings.keys ?? openToAll,
    view,
    log: silentLog,
    maxBodyBytes: settings.maxBodyBytes ?? 1024 * 1024,
    draining: () => draining,
  });
  await view.poll();
  view.start();
  const serving = await serve(app, 0, "127.0.0.1");
  const server: Serving = {
    port: serving.port,
    drain(graceMs) {
      draining = true;
      return serving.drain(graceMs);
    },
  };
  const url = `http://127.0.0.1:${String(server.port)}`;
  return {
    url,
    world,
    view,
    server,
    recoveries,
    rank(name) {
      const found = ranks.get(name);
      if (found === undefined) throw new Error(`no fake rank ${name}`);
      return found;
    },
    openai: (apiKey = "none") => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 25_000 }),
    post: (path, body, headers = {}) =>
      fetch(url + path, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async metric(name) {
      const text = await (await fetch(`${url}/metrics`)).text();
      return text
        .split("\n")
        .find((each) => each.startsWith(name))
        ?.split(" ")
        .at(-1);
    },
    async close() {
      view.stop();
      await serving.drain(0);
      await client.close();
      for (const rank of ranks.values()) await rank.stop();
    },
  };
}
