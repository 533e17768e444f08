/** A coordinator's control API over plain HTTP with scripted answers and faults; keeps pages like a real pool. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Failure } from "../../wire/schema/failure.ts";
import type { RankState } from "../../wire/schema/membership.ts";
import { pageKeys as keysFor } from "../../wire/pageKeys.ts";
import type { ModelDescriptor } from "../../wire/schema/model.ts";
import { cancelRequest, decodeRequest, prefillRequest, reserveRequest } from "../../wire/schema/serving.ts";
import { nextToken } from "./tinyModel.ts";

/** Happens to the next call of that verb, once; a decode meets it after `afterTokens`. */
export interface Fault {
  readonly verb: "reserve" | "prefill" | "decode";
  readonly afterTokens?: number;
  readonly what: "break" | "hang" | Failure;
  /** A reservation is made before that: only the answer is lost. */
  readonly done?: true;
}

/** What the ranks of one fake deployment share: the model, and the KV that prefill leaves for decode. */
export interface FakeWorld {
  readonly descriptor: ModelDescriptor;
  script: readonly number[];
  /** Tokens whose KV has been pushed, by request. */
  readonly kv: Map<string, readonly number[]>;
  /** Pause before each decoded token. */
  tokenMs: number;
}

export interface FakeRankSettings {
  readonly name: string;
  readonly group: string;
  readonly role: "prefill" | "decode";
  readonly pages?: number;
}

export interface FakeRank {
  readonly address: string;
  readonly controlPort: number;
  readonly calls: { readonly verb: string; readonly body: unknown }[];
  /** Put faults in here. */
  readonly faults: Fault[];
  /** Pages held, by request. */
  readonly held: ReadonlyMap<string, number>;
  /** Overrides what the rank says of itself. */
  readonly says: Partial<RankState>;
  /** Whoever calls is cut off, as after the rank was given back. */
  gone: boolean;
  stop(): Promise<void>;
}

const pageTokens = 16;

export async function startFakeRank(world: FakeWorld, settings: FakeRankSettings): Promise<FakeRank> {
  const { name, group, role, pages = 64 } = settings;
  const { descriptor } = world;
  const calls: { verb: string; body: unknown }[] = [];
  const faults: Fault[] = [];
  const held = new Map<string, number>();
  const keysOf = new Map<string, readonly string[]>();
  const keyed = new Set<string>();
  const says: Partial<RankState> = {};

  const server = createServer((request, response) => {
    void handle(request, response).catch((error: unknown) => {
      refuse(response, 400, { code: "bad_request", message: String(error) });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const self = {
    rankId: name,
    incarnation: `uid-${name}`,
    address: "127.0.0.1",
    controlPort: port,
    transferPort: 1,
  };
  const pagesFree = (): number => pages - [...held.values()].reduce((sum, count) => sum + count, 0);

  function present(): RankState {
    const size = {
      pagesTotal: pages,
      pagesFree: pagesFree(),
      poolPagesTotal: pages,
      poolPagesFree: pagesFree(),
    };
    return {
      rank: self,
      role,
      deployment: "d",
      group,
      phase: "serving",
      reason: "",
      fence: 0,
      generation: 1,
      epoch: 1,
      epochMembers: [name],
      coordinator: self,
      model: descriptor.name,
      kvFormat: descriptor.kvFormat,
      contextLength: descriptor.contextLength,
      pageTokens,
      ...size,
      running: 0,
      waiting: 0,
      lastBreak: "",
      ...says,
    };
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (rank.gone) {
      request.destroy();
      return;
    }
    const verb = (request.url ?? "").replace("/v1/", "");
    if (request.headers.authorization !== "Bearer token") {
      refuse(response, 401, { code: "unauthorized", message: "no token" });
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const body: unknown = text === "" ? undefined : JSON.parse(text);
    if (verb !== "state") calls.push({ verb, body });
    const index = faults.findIndex((fault) => fault.verb === verb);
    const fault = index < 0 ? undefined : faults.splice(index, 1)[0];
    switch (verb) {
      case "state":
        response.end(JSON.stringify(present()));
        return;
      case "model":
        response.end(JSON.stringify(descriptor));
        return;
      case "cancel":
        held.delete(cancelRequest.parse(body).requestId);
        response.end("{}");
        return;
      case "reserve":
        reserve(response, body, fault);
        return;
      case "prefill":
        prefill(response, body, fault);
        return;
      case "decode":
        await decode(response, body, fault);
        return;
      default:
        refuse(response, 404, { code: "bad_request", message: verb });
    }
  }

  function reserve(response: ServerResponse, body: unknown, fault: Fault | undefined): void {
    const { requestId, promptTokens, pageKeys = [] } = reserveRequest.parse(body);
    if (fault !== undefined && fault.done !== true) {
      meet(fault, response);
      return;
    }
    const needed = Math.ceil(promptTokens / pageTokens);
    if (needed > pagesFree()) {
      const counts = { missingPages: needed - pagesFree(), freePages: pagesFree() };
      refuse(response, 429, { code: "out_of_pages", message: "full", ...counts, retryAfterMs: 3_000 });
      return;
    }
    held.set(requestId, needed);
    keysOf.set(requestId, pageKeys);
    if (fault !== undefined) {
      meet(fault, response);
      return;
    }
    const known = pageKeys.findIndex((key) => !keyed.has(key));
    const most = Math.floor((promptTokens - 1) / pageTokens);
    const sharedPages = Math.min(most, known === -1 ? pageKeys.length : known);
    const places = Array.from({ length: needed }, (_, page) => ({ page, rankId: name, slot: page }));
    const granted = { requestId, epoch: 1, homeRank: name, holders: [self], pages: places, pageTokens };
    response.end(JSON.stringify({ ...granted, kvFormat: descriptor.kvFormat, pageKeys, sharedPages }));
  }

  function prefill(response: ServerResponse, body: unknown, fault: Fault | undefined): void {
    const { tokenIds, requestId, sampling, reservation, cacheSalt } = prefillRequest.parse(body);
    const keys = keysFor(descriptor.kvFormat, tokenIds, pageTokens, cacheSalt);
    if (reservation.pageKeys?.some((key, page) => key !== keys[page]) === true) {
      refuse(response, 400, { code: "bad_request", message: "pageKeys are not those of the prompt" });
      return;
    }
    line(response, { type: "progress", layersDone: 1, layers: 2 });
    if (fault !== undefined) {
      meet(fault, response);
      return;
    }
    world.kv.set(requestId, tokenIds);
    line(response, tokenEvent(0, nextToken(tokenIds, world.script), sampling.logprobs));
    const reusedTokens = pageTokens * (reservation.sharedPages ?? 0);
    line(response, { type: "done", degree: 1, ranks: [name], computeMs: 1, kvBytesPushed: 1, reusedTokens });
    response.end();
  }

  async function decode(response: ServerResponse, body: unknown, fault: Fault | undefined): Promise<void> {
    const asked = decodeRequest.parse(body);
    const { requestId, firstToken, sampling, maxNewTokens, stopTokenIds } = asked;
    const kv = world.kv.get(requestId);
    if (kv === undefined || !held.has(requestId)) {
      refuse(response, 404, { code: "unknown_request", message: "no such reservation" });
      return;
    }
    response.flushHeaders();
    if (asked.shareable === true) for (const key of keysOf.get(requestId) ?? []) keyed.add(key);
    const tokens = [...kv, firstToken];
    let reason = "length";
    for (let count = 0; count < maxNewTokens && reason !== "stop"; count += 1) {
      if (fault !== undefined && count >= (fault.afterTokens ?? 0)) {
        meet(fault, response);
        return;
      }
      if (world.tokenMs > 0) await new Promise((resolve) => setTimeout(resolve, world.tokenMs));
      const tokenId = nextToken(tokens, world.script);
      tokens.push(tokenId);
      line(response, tokenEvent(count + 1, tokenId, sampling.logprobs));
      if (stopTokenIds.includes(tokenId)) reason = "stop";
    }
    held.delete(requestId);
    line(response, { type: "done", reason, tokens: tokens.length - kv.length - 1, ranks: [name] });
    response.end();
  }

  const rank: FakeRank = {
    address: "127.0.0.1",
    controlPort: port,
    calls,
    faults,
    held,
    says,
    gone: false,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return rank;
}

function tokenEvent(index: number, tokenId: number, tops: number): object {
  const topLogprobs = Array.from({ length: tops }, (_, i) => ({
    tokenId: i === 0 ? tokenId : i + 65,
    logprob: -0.5 - i,
  }));
  return { type: "token", index, tokenId, logprob: -0.5, topLogprobs };
}

function line(response: ServerResponse, event: object): void {
  response.write(`${JSON.stringify(event)}\n`);
}

/** A fault as the caller meets it: a dead connection, silence, or a stated failure. */
function meet({ what }: Fault, response: ServerResponse): void {
  if (what === "hang") return;
  if (what === "break") {
    // What has been written is on its way before the connection breaks.
    setTimeout(() => response.destroy(), 10);
    return;
  }
  if (!response.headersSent) {
    refuse(response, what.code === "out_of_pages" ? 429 : 503, what);
    return;
  }
  line(response, { type: "error", error: what });
  response.end();
}

function refuse(response: ServerResponse, status: number, failure: Failure): void {
  response.statusCode = status;
  response.end(JSON.stringify(failure));
}
