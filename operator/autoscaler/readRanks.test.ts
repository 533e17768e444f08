/** Ranks are HTTP servers that say what the engine is known to say. */
import { readFileSync } from "node:fs";
import http from "node:http";
import { afterAll, afterEach, expect, it } from "vitest";
import { createRankClient } from "../../runtime/wire/rankClient.ts";
import type { RankState } from "../../runtime/wire/schema/membership.ts";
import type { RankPod } from "../planning/gang/observed.ts";
import { controlPort } from "../ranks/names.ts";
import { readRanks } from "./readRanks.ts";

const read = (file: string) => readFileSync(new URL(`../../runtime/wire/${file}`, import.meta.url), "utf8");
const text = read("engineMetrics.golden.txt");
const state = (JSON.parse(read("golden/RankState.json")) as { valid: RankState[] }).valid.at(-1);
const uid = state?.rank.incarnation ?? "";

const network = `127.201.${(process.pid % 250) + 1}`;
const servers: http.Server[] = [];
/** No address is used twice: connections to the last rank may still be kept. */
let addresses = 0;
const client = createRankClient({ token: () => "t" });

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

afterAll(() => client.close());

type Answers = Readonly<Record<string, string | undefined>>;

/** A rank that answers these paths; a path without an answer is never answered, any other is refused. */
async function rank(answers: Answers, more: Partial<RankPod> = {}): Promise<RankPod> {
  addresses += 1;
  const address = `${network}.${addresses}`;
  const server = http.createServer(({ url = "" }, response) => {
    const body = answers[url];
    if (body !== undefined) response.end(body);
    else if (!(url in answers)) response.writeHead(500).end("no");
  });
  servers.push(server);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(controlPort, address, resolve);
  });
  return {
    ...{ rankId: `r-${servers.length}`, ordinal: 0, uid, revision: "", gated: false, node: "n", bound: true },
    ...{ phase: "Running", ready: true, address, nodeReady: true, deletingForMs: undefined },
    ...{ unschedulableForMs: undefined, cordoned: false, leaves: undefined, exitReason: undefined },
    ...more,
  };
}

const healthy = { "/metrics": text, "/v1/state": JSON.stringify(state) };

function look(pods: readonly RankPod[], deadlineMs = 5_000) {
  const { signal } = new AbortController();
  return readRanks(pods, { client, deadlineMs, signal, nowMs: () => 7 });
}

it("takes load from metrics, with the pod and the time, and samples of work from the state", async () => {
  const { engines, reports, failures } = await look([await rank(healthy)]);
  expect(failures).toEqual([]);
  expect(engines).toMatchObject([{ pod: "r-1", podUid: uid, atMs: 7, pages: { total: 256, free: 250 } }]);
  expect(reports).toMatchObject([{ incarnation: uid, prefills: [{ number: 17 }], decodes: [{ number: 5 }] }]);
});

it("says of each rank why it could not be read, and reads the others", async () => {
  const pods = [
    await rank({ ...healthy, "/metrics": "csps_epoch 4.0\n" }),
    await rank({ "/v1/state": healthy["/v1/state"] }),
    await rank({ ...healthy, "/metrics": undefined }),
    await rank(healthy),
  ];
  const { engines, reports, failures } = await look(pods, 4_000);
  expect(failures).toEqual([
    "rank r-1: csps_rank_info is missing",
    "rank r-2: it answered 500",
    expect.stringContaining("rank r-3: "),
  ]);
  expect(engines.map(({ pod }) => pod)).toEqual(["r-4"]);
  // What was learnt of a rank does not hang on its metrics.
  expect(reports.map(({ prefills }) => prefills.length)).toEqual([1, 1, 1, 1]);
});

it("keeps its place for a rank whose state is not told, so that its next reports are counted once", async () => {
  const { engines, reports } = await look([await rank({ "/metrics": text })]);
  expect(engines).toHaveLength(1);
  expect(reports).toEqual([{ incarnation: uid, prefills: [], decodes: [] }]);
});

it("takes nothing from an earlier incarnation at the same address", async () => {
  const { engines, reports, failures } = await look([await rank(healthy, { uid: "later" })]);
  expect(engines).toEqual([]);
  expect(failures).toEqual([`rank r-1: csps_rank_info is of pod ${uid} and not of later`]);
  expect(reports).toEqual([{ incarnation: "later", prefills: [], decodes: [] }]);
});
