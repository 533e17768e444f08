import { createServer, get } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import { eventWriter } from "./sse.ts";

const ends: (() => void)[] = [];

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** Both sides of one answer. */
async function exchange(): Promise<{ response: ServerResponse; client: IncomingMessage }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const asked = new Promise<ServerResponse>((resolve) => {
    server.once("request", (_request, response) => {
      response.flushHeaders();
      resolve(response);
    });
  });
  const { port } = server.address() as AddressInfo;
  const client = await new Promise<IncomingMessage>((resolve) => get({ port, host: "127.0.0.1" }, resolve));
  ends.push(() => {
    client.on("error", () => undefined).destroy();
    server.closeAllConnections();
    server.close();
  });
  return { response: await asked, client };
}

describe("server-sent events", () => {
  it("wait no longer for a client that has left than for one that reads", async () => {
    const { response, client } = await exchange();
    const writer = eventWriter(response);
    client.on("error", () => undefined).pause();
    let written = 0;
    const writing = (async () => {
      while (!response.destroyed) {
        await writer.data("x".repeat(1_000_000));
        written += 1;
      }
    })();
    await expect.poll(() => response.writableNeedDrain, { timeout: 20_000 }).toBe(true);
    const before = written;
    client.destroy();
    const patience = new Promise((resolve) => setTimeout(resolve, 20_000, "still waits").unref());
    expect(await Promise.race([writing, patience])).toBeUndefined();
    expect(written).toBe(before + 1);
  });

  it("end once: what comes after the end is not sent, and breaks nothing off", async () => {
    const { response, client } = await exchange();
    const writer = eventWriter(response);
    const read = text(client);
    await writer.data({ token: 1 });
    writer.done();
    await writer.data({ token: 2 });
    writer.comment("prefill 1/2 layers");
    writer.done();
    expect(await read).toBe('data: {"token":1}\n\ndata: [DONE]\n\n');
  });
});
