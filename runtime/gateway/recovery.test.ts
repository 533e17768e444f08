import { afterEach, describe, expect, it } from "vitest";
import type { FakeRankSettings, Fault } from "./testing/fakeRank.ts";
import type { Bench, BenchSettings } from "./testing/gatewayBench.ts";
import { onePair, startBench } from "./testing/gatewayBench.ts";
import { answerMark } from "./testing/tinyModel.ts";

let bench: Bench;

/** Waits for as long as a busy machine may take. */
function eventually<T>(look: () => T) {
  return expect.poll(look, { timeout: 15_000, interval: 20 });
}

afterEach(async () => {
  await bench.close();
});

async function start(settings: BenchSettings = {}): Promise<void> {
  bench = await startBench(settings);
}

const hello = "Hello there, wörld 🙂!";
const plain = { model: "tiny", prompt: `Say hello.${answerMark}`, max_tokens: 64, temperature: 0 };

/** Text of a stream and what its last chunk says of where it ran. */
async function streamed(): Promise<{ text: string; recoveries: number }> {
  const stream = await bench.openai().completions.create({ ...plain, stream: true });
  let text = "";
  let recoveries = -1;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.text ?? "";
    if ("csps" in chunk) recoveries = (chunk.csps as { recoveries: number }).recoveries;
  }
  return { text, recoveries };
}

const lostPages = { code: "lost_pages", message: "rank 1 died" } as const;

describe("a stream whose ranks are lost", () => {
  const faults: readonly (readonly [string, string, Fault])[] = [
    ["the prefill breaks off", "m-prefill-0-0", { verb: "prefill", what: "break" }],
    ["the prefill hangs", "m-prefill-0-0", { verb: "prefill", what: "hang" }],
    [
      "the group's epoch breaks",
      "m-prefill-0-0",
      { verb: "prefill", what: { code: "epoch_broken", message: "x" } },
    ],
    ["the group is draining", "m-prefill-0-0", { verb: "prefill", what: { code: "draining", message: "x" } }],
    ["decoding breaks off before a token", "m-decode-0", { verb: "decode", what: "break" }],
    [
      "decoding breaks off within a character",
      "m-decode-0",
      { verb: "decode", afterTokens: 15, what: "break" },
    ],
    ["decoding hangs", "m-decode-0", { verb: "decode", afterTokens: 5, what: "hang" }],
    ["the pool loses pages", "m-decode-0", { verb: "decode", afterTokens: 7, what: lostPages }],
    [
      "the reservation is refused",
      "m-decode-0",
      { verb: "reserve", what: { code: "not_ready", message: "x" } },
    ],
    ["the reservation breaks off", "m-decode-0", { verb: "reserve", what: "break" }],
  ];
  for (const [what, rank, fault] of faults) {
    it(`goes on with the same text when ${what}`, async () => {
      // Only a rank that hangs is found out by its silence.
      const quick = fault.what === "hang" ? { prefillIdleMs: 3_000, decodeIdleMs: 3_000 } : {};
      await start({ patience: quick });
      bench.rank(rank).faults.push(fault);
      const { text, recoveries } = await streamed();
      expect(text).toBe(hello);
      const expected = fault.verb === "reserve" ? 0 : 1;
      expect(recoveries).toBe(expected);
      expect(bench.recoveries).toHaveLength(expected);
      await eventually(() => bench.rank("m-decode-0").held.size).toBe(0);
    });
  }

  it("leaves no pages at a pool whose answer was lost when another one has taken it", async () => {
    const other = { name: "n-decode-0", group: "n-decode", role: "decode" } as const;
    await start({ ranks: [...onePair, other] });
    const pools = ["m-decode-0", "n-decode-0"].map((name) => bench.rank(name));
    for (const pool of pools) pool.faults.push({ verb: "reserve", what: "break", done: true });
    // Both answers are lost, so that whichever is asked again first has it.
    expect(await streamed()).toEqual({ text: hello, recoveries: 0 });
    await eventually(() => pools.map(({ held }) => held.size)).toEqual([0, 0]);
  });

  it("prefills the prompt and the tokens so far, under a new id", async () => {
    await start();
    bench.rank("m-decode-0").faults.push({ verb: "decode", afterTokens: 4, what: lostPages });
    await streamed();
    const prefills = bench.rank("m-prefill-0-0").calls.filter(({ verb }) => verb === "prefill");
    const [first, second] = prefills.map(({ body }) => body as { requestId: string; tokenIds: number[] });
    expect(second?.tokenIds).toHaveLength((first?.tokenIds.length ?? 0) + 5);
    expect(second?.tokenIds.slice(0, first?.tokenIds.length)).toEqual(first?.tokenIds);
    expect(second?.requestId).not.toBe(first?.requestId);
    const cancelled = bench.rank("m-decode-0").calls.filter(({ verb }) => verb === "cancel");
    expect(cancelled.map(({ body }) => (body as { requestId: string }).requestId)).toContain(
      first?.requestId,
    );
    expect(await bench.metric('csps_gateway_recoveries_total{cause="lost_pages"}')).toBe("1");
    expect(await bench.metric("csps_gateway_recovery_pause_seconds_count")).toBe("1");
    expect(await bench.metric("csps_gateway_recovery_tokens_total")).toBe(String(second?.tokenIds.length));
  });

  it("survives more faults than attempts, as long as it gets on in between", async () => {
    await start();
    for (let count = 0; count < 6; count += 1) {
      bench.rank("m-decode-0").faults.push({ verb: "decode", afterTokens: 2, what: lostPages });
    }
    expect(await streamed()).toEqual({ text: hello, recoveries: 6 });
  });

  it("goes on at another group when its own is gone for good", async () => {
    const second: FakeRankSettings[] = [
      { name: "m-prefill-1-0", group: "m-prefill-1", role: "prefill" },
      { name: "n-decode-0", group: "n-decode", role: "decode" },
    ];
    await start({ ranks: [...onePair, ...second] });
    bench.world.tokenMs = 30;
    const stream = await bench.openai().completions.create({ ...plain, stream: true });
    let text = "";
    let stopped = false;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? "";
      if (stopped || text.length < 5) continue;
      stopped = true;
      const home = bench.rank("m-decode-0").held.size > 0 ? "m-decode-0" : "n-decode-0";
      await bench.rank(home).stop();
      await bench.rank("m-prefill-0-0").stop();
    }
    expect(text).toBe(hello);
    expect(new Set(bench.recoveries)).toEqual(new Set(["unreachable"]));
  });

  it("ends with an error event when it is lost again and again", async () => {
    await start();
    for (let count = 0; count < 4; count += 1)
      bench.rank("m-decode-0").faults.push({ verb: "decode", what: lostPages });
    await expect(streamed()).rejects.toThrow(/lost 4 times in a row, last by lost_pages/);
  });

  it("answers 503 when it is lost before anything was sent", async () => {
    await start();
    for (let count = 0; count < 4; count += 1)
      bench.rank("m-prefill-0-0").faults.push({ verb: "prefill", what: "break" });
    await expect(bench.openai().completions.create(plain)).rejects.toMatchObject({ status: 503 });
    await eventually(() => bench.rank("m-decode-0").held.size).toBe(0);
  });

  it("does not repeat a prefill that was too long for its deadline", async () => {
    await start();
    const late = { code: "deadline_exceeded", message: "the deadline passed" } as const;
    bench.rank("m-prefill-0-0").faults.push({ verb: "prefill", what: late });
    await expect(bench.openai().completions.create(plain)).rejects.toMatchObject({
      status: 504,
      code: "deadline_exceeded",
    });
    expect(bench.recoveries).toEqual([]);
  });

  it("gives up with an error when no group comes back in time", async () => {
    await start({ patience: { stallMs: 300 } });
    // What is put in its way below is there before the pool loses it.
    bench.world.tokenMs = 200;
    bench.rank("m-decode-0").faults.push({ verb: "decode", afterTokens: 3, what: lostPages });
    const stream = await bench.openai().completions.create({ ...plain, stream: true });
    bench.rank("m-decode-0").says.phase = "forming";
    const read = async (): Promise<void> => {
      for await (const chunk of stream) expect(chunk.object).toBe("text_completion");
    };
    bench
      .rank("m-decode-0")
      .faults.push(...Array.from({ length: 9 }, () => ({ verb: "reserve", what: "break" }) as const));
    await expect(read()).rejects.toThrow(/No prefill group with a decode pool is ready/);
  });
});

describe("a client that leaves", () => {
  it("has its request cancelled on the ranks", async () => {
    await start();
    bench.world.tokenMs = 50;
    const stream = await bench.openai().completions.create({ ...plain, stream: true });
    for await (const chunk of stream) {
      expect(chunk.object).toBe("text_completion");
      break;
    }
    await eventually(() => bench.rank("m-decode-0").held.size).toBe(0);
    await eventually(() =>
      bench.metric('csps_gateway_requests_total{route="completions",status="499"}'),
    ).toBe("1");
    expect(await bench.metric("csps_gateway_num_requests_running")).toBe("0");
    expect(bench.recoveries).toEqual([]);
  });

  it("has its request cancelled while its prompt is still prefilled", async () => {
    // The head tells of the ranks when it is sent after they are known.
    await start({ openStreamMs: 1_500 });
    bench.rank("m-prefill-0-0").faults.push({ verb: "prefill", what: "hang" });
    const leave = new AbortController();
    const response = await fetch(`${bench.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...plain, stream: true }),
      signal: leave.signal,
    });
    expect(response.headers.get("x-csps-prefill-ranks")).toBe("m-prefill-0-0");
    expect(bench.rank("m-decode-0").held.size).toBe(1);
    leave.abort();
    await eventually(() => bench.rank("m-decode-0").held.size).toBe(0);
  });
});

describe("a client that leaves before its pool has answered", () => {
  it("holds no pages", async () => {
    await start();
    const pool = bench.rank("m-decode-0");
    pool.faults.push({ verb: "reserve", what: "hang", done: true });
    const leave = new AbortController();
    const asked = fetch(`${bench.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(plain),
      signal: leave.signal,
    });
    await eventually(() => pool.held.size).toBe(1);
    leave.abort();
    await expect(asked).rejects.toThrow();
    await eventually(() => pool.held.size).toBe(0);
  });
});

describe("the gateway's end", () => {
  it("lets streams finish, takes no new connections and is not ready meanwhile", async () => {
    await start();
    bench.world.tokenMs = 20;
    const stream = await bench.openai().completions.create({ ...plain, stream: true });
    let ended: Promise<boolean> | undefined;
    let text = "";
    for await (const chunk of stream) {
      ended ??= bench.server.drain(10_000);
      text += chunk.choices[0]?.text ?? "";
    }
    expect(text).toBe(hello);
    expect(await ended).toBe(true);
    await expect(fetch(`${bench.url}/readyz`)).rejects.toThrow();
  });

  it("breaks off what does not finish within the grace", async () => {
    await start();
    bench.world.tokenMs = 500;
    const stream = await bench.openai().completions.create({ ...plain, stream: true });
    const read = async (): Promise<void> => {
      for await (const chunk of stream) expect(chunk.object).toBe("text_completion");
    };
    const reading = read();
    expect(await bench.server.drain(100)).toBe(false);
    await expect(reading).rejects.toThrow();
  });
});
