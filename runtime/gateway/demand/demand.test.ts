import { afterEach, describe, expect, it } from "vitest";
import type { Bench, BenchSettings } from "../testing/gatewayBench.ts";
import { startBench } from "../testing/gatewayBench.ts";
import { answerMark } from "../testing/tinyModel.ts";

let bench: Bench;

afterEach(async () => {
  await bench.close();
});

async function start(settings: BenchSettings): Promise<void> {
  bench = await startBench(settings);
}

function eventually<T>(look: () => Promise<T>) {
  return expect.poll(look, { timeout: 15_000, interval: 20 });
}

const ask = (text: string, maxTokens = 64) => ({
  model: "tiny",
  prompt: `${text}${answerMark}`,
  max_tokens: maxTokens,
});

describe("demand metrics", () => {
  const classes = [
    { name: "short", upToTokens: 20 },
    { name: "long", upToTokens: 60 },
  ];
  const series = (name: string, labels: string) => bench.metric(`${name}{${labels}}`);

  it("count prompts by class as they arrive, and answers as they end", async () => {
    await start({ classes });
    expect(await series("csps_gateway_prompt_tokens_count", 'class="long"')).toBe("0");
    await bench.post("/v1/completions", ask("x".repeat(80)));
    await bench.post("/v1/completions", ask("hi"));
    await bench.post("/v1/completions", ask("hi"));
    expect(await series("csps_gateway_prompt_tokens_count", 'class="short"')).toBe("2");
    // Longer than any class counts to the last.
    expect(await series("csps_gateway_prompt_tokens_count", 'class="long"')).toBe("1");
    const tokens = Number(await series("csps_gateway_prompt_tokens_sum", 'class="long"'));
    expect(await series("csps_gateway_prompt_tokens_squared_total", 'class="long"')).toBe(
      String(tokens ** 2),
    );
    expect(await bench.metric("csps_gateway_output_tokens_count")).toBe("3");
  });

  it("tell at which stage each prompt is, and forget one whose client left", async () => {
    await start({ classes });
    bench.world.tokenMs = 50;
    const stage = (name: string) => series("csps_gateway_prompts", `class="short",stage="${name}"`);
    const client = new AbortController();
    const answer = fetch(`${bench.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...ask("hi"), stream: true }),
      signal: client.signal,
    }).then((response) => response.text());
    await eventually(() => stage("decoding")).toBe("1");
    client.abort();
    await expect(answer).rejects.toThrow();
    await eventually(() => stage("decoding")).toBe("0");
    expect(await stage("waiting")).toBe("0");
    expect(await stage("prefilling")).toBe("0");
  });
});

describe("a deployment that was scaled to zero", () => {
  const waiting = () => bench.metric("csps_gateway_requests_waiting_for_ranks");
  const sleep = (phase: "loading" | "serving"): void => {
    for (const name of ["m-prefill-0-0", "m-decode-0"]) bench.rank(name).says.phase = phase;
  };

  it("keeps requests until ranks serve, then answers each, and tells how long that took", async () => {
    await start({ wake: { waitMs: 20_000, maxWaiting: 2 } });
    sleep("loading");
    await bench.view.poll();
    const answers = [1, 2].map(() => bench.post("/v1/completions", ask("hi")));
    await eventually(waiting).toBe("2");
    const refused = await bench.post("/v1/completions", ask("hi"));
    expect(refused.status).toBe(503);
    expect(await refused.text()).toContain("2 requests already wait for ranks to start");
    sleep("serving");
    for (const answer of answers) expect((await answer).status).toBe(200);
    expect(await waiting()).toBe("0");
    expect(await bench.metric("csps_gateway_cold_start_seconds_count")).toBe("1");
  });

  it.each([
    ["of a model that it knows", true],
    ["of a model that it has yet to be told of", false],
  ])("keeps a request %s also when the ranks went just before it, unseen", async (_, known) => {
    await start({ wake: { waitMs: 20_000, maxWaiting: 2 } });
    if (known) expect((await bench.post("/v1/completions", ask("hi"))).status).toBe(200);
    const ranks = ["m-prefill-0-0", "m-decode-0"].map((name) => bench.rank(name));
    for (const rank of ranks) rank.gone = true;
    const answer = bench.post("/v1/completions", ask("hi"));
    await eventually(waiting).toBe("1");
    for (const rank of ranks) rank.gone = false;
    expect((await answer).status).toBe(200);
    expect(await bench.metric("csps_gateway_cold_start_seconds_count")).toBe("1");
  });

  it("refuses with a sentence when no rank came in time, and is asked anew", async () => {
    await start({ wake: { waitMs: 200, maxWaiting: 2 } });
    sleep("loading");
    await bench.view.poll();
    const late = await bench.post("/v1/completions", ask("hi"));
    expect(late.status).toBe(503);
    expect(late.headers.get("retry-after")).not.toBeNull();
    expect(await late.text()).toContain("No rank began to serve within");
    expect(await waiting()).toBe("0");
    expect(await bench.metric("csps_gateway_cold_start_seconds_count")).toBe("0");
  });

  it("forgets a request whose client left", async () => {
    await start({ wake: { waitMs: 20_000, maxWaiting: 2 } });
    sleep("loading");
    await bench.view.poll();
    const client = new AbortController();
    const answer = fetch(`${bench.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(ask("hi")),
      signal: client.signal,
    });
    await eventually(waiting).toBe("1");
    client.abort();
    await expect(answer).rejects.toThrow();
    await eventually(waiting).toBe("0");
  });
});
