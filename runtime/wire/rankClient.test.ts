import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { createRankClient } from "./rankClient.ts";
import type { RankClient } from "./rankClient.ts";
import type { RankEndpoint } from "./rankEndpoint.ts";
import { RankFailure } from "./rankFailure.ts";
import type { DecodeRequest, ReserveRequest } from "./schema/serving.ts";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const open: { server: Server; client?: RankClient }[] = [];

afterEach(async () => {
  for (const { server, client } of open.splice(0)) {
    await client?.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function rankThat(handler: Handler): Promise<RankEndpoint> {
  const server = createServer(handler);
  open.push({ server });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: "127.0.0.1", controlPort: (server.address() as AddressInfo).port };
}

function client(): RankClient {
  const made = createRankClient({ token: () => "secret" });
  const last = open.at(-1);
  if (last !== undefined) last.client = made;
  return made;
}

async function failureOf(work: Promise<unknown>): Promise<RankFailure> {
  const outcome = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (outcome instanceof RankFailure) return outcome;
  throw new Error(`expected a RankFailure, got ${String(outcome)}`);
}

async function collect<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}

const rankRef = (endpoint: RankEndpoint): object => ({
  rankId: "m-decode-0",
  incarnation: "uid-0",
  transferPort: 9001,
  ...endpoint,
});

const reservation = {
  requestId: "r",
  promptTokens: 3,
  maxNewTokens: 4,
  leaseMs: 1000,
} satisfies ReserveRequest;
const granted = {
  requestId: "r",
  epoch: 1,
  homeRank: "m-decode-0",
  holders: [rankRef({ address: "127.0.0.1", controlPort: 9000 })],
  pages: [{ page: 0, rankId: "m-decode-0", slot: 0 }],
  pageTokens: 16,
  kvFormat: "f",
};
const decode: DecodeRequest = {
  requestId: "r",
  promptTokens: 3,
  firstToken: 7,
  sampling: { temperature: 0, topP: 1, seed: 1, logprobs: 0, wantLogprobs: false },
  maxNewTokens: 3,
  stopTokenIds: [2],
};
const doneLine = `${JSON.stringify({ type: "done", reason: "length", tokens: 2, ranks: ["m-decode-0"] })}\n`;
const tokenLine = (index: number): string =>
  `${JSON.stringify({ type: "token", index, tokenId: 40 + index })}\n`;

describe("rank client", () => {
  it("sends the bearer token and the body, and parses the answer", async () => {
    let seen = "";
    const rank = await rankThat((request, response) => {
      seen = `${String(request.method)} ${String(request.url)} ${String(request.headers.authorization)}`;
      request.resume().on("end", () => response.end(JSON.stringify(granted)));
    });
    await expect(client().reserve(rank, reservation)).resolves.toEqual(granted);
    expect(seen).toBe("POST /v1/reserve Bearer secret");
  });

  it("throws the rank's own failure with its code and details", async () => {
    const rank = await rankThat((_request, response) => {
      response.statusCode = 429;
      response.end(JSON.stringify({ code: "out_of_pages", message: "9 pages missing", missingPages: 9 }));
    });
    const failure = await failureOf(client().reserve(rank, reservation));
    expect(failure).toMatchObject({ code: "out_of_pages", failure: { missingPages: 9 } });
  });

  it("follows not_coordinator once and no further", async () => {
    const coordinator = await rankThat((_request, response) => response.end(JSON.stringify(granted)));
    const redirecting: Handler = (_request, response) => {
      response.statusCode = 409;
      response.end(
        JSON.stringify({ code: "not_coordinator", message: "ask rank 0", coordinator: rankRef(coordinator) }),
      );
    };
    const follower = await rankThat(redirecting);
    await expect(client().reserve(follower, reservation)).resolves.toEqual(granted);

    const lost = await rankThat((_request, response) => {
      response.statusCode = 409;
      response.end(
        JSON.stringify({ code: "not_coordinator", message: "not me", coordinator: rankRef(follower) }),
      );
    });
    expect((await failureOf(client().reserve(lost, reservation))).code).toBe("not_coordinator");
  });

  it("names an answer outside the schema", async () => {
    const rank = await rankThat((_request, response) => response.end('{"requestId":7}'));
    expect((await failureOf(client().reserve(rank, reservation))).code).toBe("malformed_answer");
  });

  it("gives up at the deadline when the rank hangs", async () => {
    const rank = await rankThat(() => undefined);
    const failure = await failureOf(client().reserve(rank, reservation, { deadlineMs: 50 }));
    expect(failure.code).toBe("deadline_exceeded");
  });

  it("names a rank that is not there as unreachable", async () => {
    const rank = await rankThat(() => undefined);
    const gone = open.splice(0);
    for (const { server } of gone) await new Promise((resolve) => server.close(resolve));
    const made = createRankClient({ token: () => "" });
    expect((await failureOf(made.state(rank))).code).toBe("unreachable");
    await made.close();
  });

  it("yields events whatever the chunks are, and ends after done", async () => {
    const text = tokenLine(0) + "\n" + tokenLine(1) + doneLine;
    const rank = await rankThat((_request, response) => {
      response.write(text.slice(0, 11));
      setTimeout(() => response.end(text.slice(11)), 5);
    });
    const events = await collect(client().decode(rank, decode));
    expect(events.map((event) => event.type)).toEqual(["token", "token", "done"]);
  });

  it("throws the failure of an error event after the tokens before it", async () => {
    const rank = await rankThat((_request, response) => {
      response.end(
        tokenLine(0) +
          JSON.stringify({ type: "error", error: { code: "lost_pages", message: "rank 1 died" } }) +
          "\n",
      );
    });
    const seen: string[] = [];
    const failure = await failureOf(
      (async () => {
        for await (const event of client().decode(rank, decode)) seen.push(event.type);
      })(),
    );
    expect(seen).toEqual(["token"]);
    expect(failure.code).toBe("lost_pages");
  });

  it("treats a stream that breaks off as unreachable, torn line or not", async () => {
    const rank = await rankThat((_request, response) => {
      response.write(tokenLine(0) + '{"type":"to', () => response.destroy());
    });
    expect((await failureOf(collect(client().decode(rank, decode)))).code).toBe("unreachable");
    const silent = await rankThat((_request, response) => response.end(tokenLine(0)));
    expect((await failureOf(collect(client().decode(silent, decode)))).code).toBe("unreachable");
  });

  it("gives up on a stream that falls silent", async () => {
    const rank = await rankThat((_request, response) => response.write(tokenLine(0)));
    const failure = await failureOf(collect(client().decode(rank, decode, { idleMs: 60 })));
    expect(failure.code).toBe("deadline_exceeded");
  });

  it("closes the connection when the consumer stops early, and when the signal aborts", async () => {
    const closed: Promise<void>[] = [];
    const rank = await rankThat((_request, response) => {
      closed.push(new Promise((resolve) => response.on("close", resolve)));
      response.write(tokenLine(0));
    });
    const made = client();
    for await (const event of made.decode(rank, decode)) {
      expect(event.type).toBe("token");
      break;
    }
    const abort = new AbortController();
    const failure = await failureOf(
      (async () => {
        for await (const event of made.decode(rank, decode, { signal: abort.signal })) {
          expect(event.type).toBe("token");
          abort.abort();
        }
      })(),
    );
    expect(failure.code).toBe("aborted");
    await Promise.all(closed);
    expect(closed).toHaveLength(2);
  });

  it("uses one connection for one stream after another", async () => {
    const ports = new Set<number | undefined>();
    const rank = await rankThat((request, response) => {
      ports.add(request.socket.remotePort);
      response.end(tokenLine(0) + doneLine);
    });
    const made = client();
    for (let round = 0; round < 3; round += 1) {
      await collect(made.decode(rank, decode));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(ports.size).toBe(1);
  });
});
