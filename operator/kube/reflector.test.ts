import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Informer, type InformerOptions } from "./informer.ts";
import type { ConfigMap } from "./object.ts";
import { configMaps } from "./resource.ts";
import { eventually } from "./testing/eventually.ts";
import { FaultyApiServer, line, refuse, stream } from "./testing/faulty-api-server.ts";
import { recordedTelemetry, type RecordedTelemetry } from "./testing/recorded-telemetry.ts";

let server: FaultyApiServer;
let telemetry: RecordedTelemetry;
let informers: Informer<ConfigMap>[];

beforeEach(async () => {
  server = await FaultyApiServer.start();
  telemetry = recordedTelemetry();
  informers = [];
});

afterEach(async () => {
  await Promise.all(informers.map((informer) => informer.stop()));
  await server.stop();
});

function informer(options: Partial<InformerOptions<ConfigMap>> = {}): Informer<ConfigMap> {
  const cluster = server.cluster(telemetry);
  const made = new Informer({
    cluster,
    resource: configMaps,
    backoff: { minMs: 20, maxMs: 200 },
    ...options,
  });
  informers.push(made);
  return made;
}

const names = (of: Informer<ConfigMap>): string[] =>
  of.store
    .list()
    .map((object) => object.metadata.name)
    .sort();

async function started(options: Partial<InformerOptions<ConfigMap>> = {}): Promise<Informer<ConfigMap>> {
  const made = informer(options).start();
  await eventually("a watch is open", () => server.openWatches === 1);
  return made;
}

describe("listing", () => {
  test("reads every page and gives items the kind that lists leave out", async () => {
    for (const name of ["a", "b", "c", "d", "e"]) server.put(name);
    const made = await started({ pageLimit: 2 });
    expect(names(made)).toEqual(["a", "b", "c", "d", "e"]);
    expect(server.lists.map((url) => url.searchParams.get("continue"))).toEqual([null, "b", "d"]);
    expect(made.store.get("default/a")).toMatchObject({ apiVersion: "v1", kind: "ConfigMap" });
  });

  test("passes selectors to the list and to the watch, and asks for bookmarks", async () => {
    await started({ namespace: "default", labelSelector: "app=x", fieldSelector: "metadata.name=a" });
    for (const url of [...server.lists, ...server.watches]) {
      expect(url.pathname).toBe("/api/v1/namespaces/default/configmaps");
      expect(url.searchParams.get("labelSelector")).toBe("app=x");
      expect(url.searchParams.get("fieldSelector")).toBe("metadata.name=a");
    }
    expect(server.watches[0]?.searchParams.get("allowWatchBookmarks")).toBe("true");
  });

  test("recovers from 429 without and with Retry-After on the first lists", async () => {
    server.put("a");
    server.listFaults.push(
      refuse(429, "TooManyRequests"),
      refuse(429, "TooManyRequests", { "retry-after": "0" }),
    );
    const made = await started();
    expect(names(made)).toEqual(["a"]);
    expect(server.lists.length).toBe(3);
  });

  test("reads the list whole when the continue token has expired half-way", async () => {
    for (const name of ["a", "b", "c"]) server.put(name);
    server.listFaults.push(
      (response, url) => {
        const items = [{ metadata: { name: "a", namespace: "default", resourceVersion: "101" } }];
        response.end(
          JSON.stringify({ metadata: { resourceVersion: "1", continue: `token-${url.pathname}` }, items }),
        );
      },
      refuse(410, "Expired"),
    );
    const made = await started({ pageLimit: 1 });
    expect(names(made)).toEqual(["a", "b", "c"]);
    expect(server.lists.at(-1)?.searchParams.get("limit")).toBeNull();
  });

  test("has not synced before the first full list", async () => {
    server.listFaults.push(refuse(500, "InternalError"));
    const made = informer();
    expect(made.hasSynced).toBe(false);
    await expect(made.synced(10)).rejects.toThrow("No list of configmaps");
    made.start();
    await made.synced(5_000);
    expect(made.hasSynced).toBe(true);
  });
});

describe("watching", () => {
  test("tells additions, changes and deletions in order", async () => {
    const seen: string[] = [];
    server.put("old");
    const made = await started();
    made.handle({
      added: (object) => seen.push(`added ${object.metadata.name}`),
      updated: (before, after) =>
        seen.push(`updated ${before.metadata.resourceVersion}→${after.metadata.resourceVersion}`),
      removed: (object) => seen.push(`removed ${object.metadata.name}`),
    });
    server.put("new");
    server.put("new", { key: "value" });
    server.delete("old");
    await eventually("four calls", () => seen.length === 4);
    expect(seen).toEqual(["added old", "added new", "updated 102→103", "removed old"]);
    expect(names(made)).toEqual(["new"]);
  });

  test("tells of a pod that took a name while nobody watched as one removed and one added", async () => {
    const seen: string[] = [];
    server.put("rank");
    const made = await started();
    made.handle({
      added: (object) => seen.push(`added ${object.metadata.uid}`),
      updated: () => seen.push("updated"),
      removed: (object) => seen.push(`removed ${object.metadata.uid}`),
    });
    const metadata = { name: "rank", namespace: "default", uid: "uid-new", resourceVersion: "500" };
    server.watchFaults.push(refuse(410, "Expired"));
    server.listFaults.push((response) => {
      response.end(JSON.stringify({ metadata: { resourceVersion: "500" }, items: [{ metadata }] }));
    });
    server.endWatches("closed");
    await eventually("three calls", () => seen.length === 3);
    expect(seen).toEqual(["added uid-rank", "removed uid-rank", "added uid-new"]);
  });

  test("survives HTTP 500 on watching again and misses nothing", async () => {
    const made = await started();
    server.watchFaults.push(refuse(500, "InternalError"), refuse(500, "InternalError"));
    server.endWatches("closed");
    server.put("meanwhile");
    await eventually("the change that was made meanwhile", () => names(made).includes("meanwhile"));
    expect(server.lists.length).toBe(1);
    expect(telemetry.watchEnds.filter((cause) => cause === "failed").length).toBe(2);
  });

  test("watches again from the last version after a cut in the middle of a line", async () => {
    const made = await started();
    server.put("a");
    await eventually("a", () => names(made).includes("a"));
    server.send('{"type":"ADDED","object":{"apiVersion":"v1","kind":"Conf');
    server.endWatches("cut");
    await eventually("a second watch", () => server.openWatches === 1 && server.watches.length === 2);
    expect(server.watches[1]?.searchParams.get("resourceVersion")).toBe("101");
    server.put("b");
    await eventually("b", () => names(made).includes("b"));
    expect(server.lists.length).toBe(1);
  });

  test("reads a line that comes in pieces, cut inside a character", async () => {
    const made = await started();
    const object = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "grün", namespace: "default", uid: "u", resourceVersion: "200" },
    };
    const bytes = Buffer.from(line("ADDED", object));
    const cut = bytes.indexOf(0xc3) + 1;
    server.watchFaults.push((response) => {
      response.writeHead(200);
      response.write(bytes.subarray(0, cut));
      setTimeout(() => response.write(bytes.subarray(cut)), 30);
    });
    server.endWatches("closed");
    await eventually("the object", () => names(made).includes("grün"));
  });

  test("lists again after 410 Gone, as an answer and as an event, and removes what is gone", async () => {
    server.put("a");
    server.put("b");
    const removed: string[] = [];
    const made = await started();
    made.handle({ removed: (object) => removed.push(object.metadata.name) });
    const gone = line("ERROR", { kind: "Status", code: 410, reason: "Expired", message: "too old" });
    server.watchFaults.push(refuse(410, "Expired"), stream(gone, "end"));
    server.endWatches("closed");
    await eventually("two more lists", () => server.lists.length === 3);
    await eventually("a watch is open", () => server.openWatches === 1);
    server.watchFaults.push(refuse(410, "Expired"));
    server.endWatches("cut");
    await eventually("the watch is down", () => server.openWatches === 0);
    server.delete("a");
    await eventually("a is gone", () => removed.length === 1);
    expect(removed).toEqual(["a"]);
    expect(names(made)).toEqual(["b"]);
  });

  test.each([
    ["not JSON", "{nonsense}\n"],
    ["an unknown type", line("SURPRISE", { metadata: { resourceVersion: "5" } })],
    ["no object", `${JSON.stringify({ type: "ADDED" })}\n`],
    ["no version", line("ADDED", { metadata: { name: "x" } })],
  ])("watches again after a malformed line: %s", async (_, text) => {
    const made = await started();
    server.watchFaults.push(stream(text, "hang"));
    server.endWatches("closed");
    server.put("after");
    await eventually("the object after it", () => names(made).includes("after"));
    expect(telemetry.watchEnds).toContain("malformed");
  });

  test("lists again when the watch fails over and over", async () => {
    const made = await started();
    for (let failure = 0; failure < 5; failure += 1) server.watchFaults.push(stream("{poison}\n", "end"));
    server.endWatches("closed");
    server.put("after");
    await eventually(
      "a second list that is taken in",
      () => server.lists.length === 2 && made.store.size > 0,
    );
    expect(names(made)).toEqual(["after"]);
  });

  test("reconnects when neither an event nor a bookmark comes", async () => {
    await started({ idleTimeoutMs: 100 });
    await eventually("a second watch", () => server.watches.length >= 2);
    expect(telemetry.watchEnds).toContain("idle");
    expect(server.lists.length).toBe(1);
  });

  test("takes a slow bookmark for a sign of life and goes on from its version", async () => {
    const made = await started({ idleTimeoutMs: 4_000 });
    for (let beat = 0; beat < 9; beat += 1) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      server.bookmark();
    }
    await eventually("the last bookmark has come", () => made.resourceVersion === "109");
    expect(server.watches.length).toBe(1);
    server.endWatches("cut");
    await eventually("a second watch", () => server.watches.length === 2);
    expect(server.watches[1]?.searchParams.get("resourceVersion")).toBe("109");
    expect(made.store.size).toBe(0);
  });
});

describe("handlers", () => {
  test("one that throws, or rejects, keeps neither the other handlers nor later events from coming", async () => {
    const seen: string[] = [];
    const made = await started();
    made.handle({
      added: () => {
        throw new Error("handler exploded");
      },
    });
    const rejects = (): unknown => Promise.reject(new Error("handler rejected"));
    made.handle({ added: rejects });
    made.handle({ added: (object) => seen.push(object.metadata.name) });
    server.put("a");
    server.put("b");
    await eventually("both", () => seen.length === 2);
    expect(telemetry.messages.filter(({ message }) => message === "An event handler threw").length).toBe(4);
    expect(server.watches.length).toBe(1);
  });

  test("a projection that throws costs its object only", async () => {
    const made = await started({
      project: (object) => {
        if (object.metadata.name === "bad") throw new Error("cannot project");
        return { ...object, data: {} };
      },
    });
    server.put("bad");
    server.put("good", { dropped: "yes" });
    await eventually("the good one", () => names(made).includes("good"));
    expect(names(made)).toEqual(["good"]);
    expect(made.store.get("default/good")?.data).toEqual({});
  });
});

describe("stopping", () => {
  test("closes an open watch", async () => {
    const made = await started();
    await made.stop();
    await eventually("no watch is open", () => server.openWatches === 0);
  });

  test("during back-off leaves no watch behind", async () => {
    const made = await started({ backoff: { minMs: 60_000, maxMs: 60_000 } });
    server.endWatches("cut");
    await eventually("the watch has ended", () => telemetry.watchEnds.length === 1);
    const requests = server.watches.length + server.lists.length;
    await made.stop();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(server.watches.length + server.lists.length).toBe(requests);
    expect(server.openWatches).toBe(0);
  });

  test("during a list that hangs returns at once and tells nothing", async () => {
    server.put("a");
    server.listFaults.push(() => undefined);
    const made = informer().start();
    await eventually("the list has come", () => server.lists.length === 1);
    await made.stop();
    expect(made.hasSynced).toBe(false);
    expect(made.store.size).toBe(0);
  });
});
