import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterEach, describe, expect, it } from "vitest";
import { apiKeysIn } from "./http/apiKeys.ts";
import type { Bench, BenchSettings } from "./testing/gatewayBench.ts";
import { startBench } from "./testing/gatewayBench.ts";
import { answerMark } from "./testing/tinyModel.ts";

let bench: Bench;

afterEach(async () => {
  await bench.close();
});

async function start(settings: BenchSettings = {}): Promise<void> {
  bench = await startBench(settings);
}

interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

async function errorOf(path: string, body: unknown, headers?: Record<string, string>) {
  const response = await bench.post(path, body, headers);
  const { error } = (await response.json()) as ErrorBody;
  expect(error.message).not.toBe("");
  return { status: response.status, ...error, retryAfter: response.headers.get("retry-after") };
}

const chat = { model: "tiny", messages: [{ role: "user", content: "hi" }] };
const plain = { model: "tiny", prompt: `hi${answerMark}` };

describe("a request that is refused", () => {
  it("names what is wrong with the body", async () => {
    await start();
    const completions = "/v1/completions";
    const refused: readonly [string, unknown, string | null, string | null][] = [
      [completions, "{", null, "invalid_json"],
      [completions, [], null, null],
      [completions, { model: "tiny" }, "prompt", "invalid_value"],
      [completions, { ...plain, prompt: "" }, "prompt", "empty_prompt"],
      [completions, { ...plain, prompt: [] }, "prompt", "invalid_value"],
      [completions, { ...plain, prompt: [9_999_999] }, "prompt", "invalid_value"],
      [completions, { ...plain, max_tokens: "3" }, "max_tokens", "invalid_value"],
      [completions, { ...plain, max_tokens: 0 }, "max_tokens", "invalid_value"],
      [completions, { ...plain, temperature: -1 }, "temperature", "invalid_value"],
      [completions, { ...plain, top_p: 0 }, "top_p", "invalid_value"],
      [completions, { ...plain, logprobs: 99 }, "logprobs", "invalid_value"],
      [completions, { ...plain, stop: ["a", "b", "c", "d", "e"] }, "stop", "invalid_value"],
      [completions, { ...plain, cache_salt: "" }, "cache_salt", "invalid_value"],
      [completions, { ...plain, cache_salt: "x".repeat(257) }, "cache_salt", "invalid_value"],
      [completions, { ...plain, cache_salt: "\ud800" }, "cache_salt", "invalid_value"],
      [completions, { ...plain, cache_salt: 7 }, "cache_salt", "invalid_value"],
      ["/v1/chat/completions", { ...chat, cache_salt: "" }, "cache_salt", "invalid_value"],
      [completions, { ...plain, n: 2 }, "n", "unsupported_value"],
      [completions, { ...plain, echo: true }, "echo", "unsupported_parameter"],
      [completions, { ...plain, best_of: 2 }, "best_of", "unsupported_parameter"],
      [completions, { ...plain, suffix: "x" }, "suffix", "unsupported_parameter"],
      [completions, { ...plain, top_k: 5 }, "top_k", "unknown_parameter"],
      ["/v1/chat/completions", { model: "tiny", messages: [] }, "messages", "invalid_value"],
      [
        "/v1/chat/completions",
        { ...chat, messages: [{ role: "tool", content: "x" }] },
        "messages.0.role",
        "invalid_value",
      ],
      [
        "/v1/chat/completions",
        { ...chat, messages: [{ role: "user" }] },
        "messages.0.content",
        "invalid_value",
      ],
      ["/v1/chat/completions", { ...chat, tools: [{ type: "function" }] }, "tools", "unsupported_parameter"],
      [
        "/v1/chat/completions",
        { ...chat, response_format: { type: "json_object" } },
        "response_format",
        "unsupported_parameter",
      ],
      ["/v1/chat/completions", { ...chat, presence_penalty: 1 }, "presence_penalty", "unsupported_parameter"],
      ["/v1/chat/completions", { ...chat, top_logprobs: 3 }, "top_logprobs", "invalid_value"],
    ];
    for (const [path, body, param, code] of refused) {
      const error = await errorOf(path, body);
      const label = JSON.stringify(body);
      expect([label, error.status, error.param, error.code]).toEqual([label, 400, param, code]);
      expect(error.type).toBe("invalid_request_error");
    }
    expect(bench.rank("m-decode-0").calls.map(({ verb }) => verb)).not.toContain("reserve");
  });

  it("lets values through that ask for nothing", async () => {
    await start({ answer: "ok" });
    const idle = {
      n: 1,
      presence_penalty: 0,
      frequency_penalty: 0,
      logit_bias: {},
      user: "me",
      stop: null,
      seed: null,
    };
    const whole = await bench.post("/v1/completions", {
      ...plain,
      ...idle,
      echo: false,
      best_of: 1,
      logprobs: null,
    });
    expect(whole.status).toBe(200);
    const talk = { ...chat, ...idle, tools: [], tool_choice: "none", response_format: { type: "text" } };
    const parts = [
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
        name: "x",
      },
    ];
    expect((await bench.post("/v1/chat/completions", { ...talk, messages: parts })).status).toBe(200);
  });

  it("tells both numbers when the prompt does not fit the context", async () => {
    await start();
    const prompt = Array.from({ length: 510 }, () => 70);
    const error = await errorOf("/v1/completions", { ...plain, prompt, max_tokens: 9 });
    expect(error).toMatchObject({ status: 400, code: "context_length_exceeded", param: "prompt" });
    expect(error.message).toMatch(/512 tokens.*519 .*510 in the prompt, 9 for/);
    const long = { ...chat, messages: [{ role: "user", content: "x".repeat(600) }] };
    expect(await errorOf("/v1/chat/completions", long)).toMatchObject({
      code: "context_length_exceeded",
      param: "messages",
    });
  });

  it("passes on what the chat template says", async () => {
    await start();
    const messages = [...chat.messages, { role: "system", content: "late" }];
    const error = await errorOf("/v1/chat/completions", { ...chat, messages });
    expect(error).toMatchObject({ status: 400, param: "messages" });
    expect(error.message).toContain("system has to come first");
  });

  it("says that a model without a chat template does not chat", async () => {
    await start({ descriptor: { chatTemplate: "" } });
    expect(await errorOf("/v1/chat/completions", chat)).toMatchObject({
      status: 400,
      code: "no_chat_template",
    });
  });

  it("answers unknown models and routes with 404, and large bodies with 413", async () => {
    await start({ maxBodyBytes: 2_000 });
    expect(await errorOf("/v1/completions", { ...plain, model: "x" })).toMatchObject({
      status: 404,
      code: "model_not_found",
    });
    expect(await errorOf("/v1/embeddings", {})).toMatchObject({ status: 404, code: "unknown_route" });
    const large = { ...plain, prompt: "x".repeat(3_000) };
    expect(await errorOf("/v1/completions", large)).toMatchObject({ status: 413, code: "request_too_large" });
  });

  it("asks for a key when keys are configured, and takes a rotated one", async () => {
    const folder = await mkdtemp(join(tmpdir(), "csps-keys-"));
    await writeFile(join(folder, "alice"), "sk-alice\n");
    const keys = apiKeysIn(folder);
    await keys.refresh();
    await start({ keys, answer: "ok" });
    expect(await errorOf("/v1/completions", plain)).toMatchObject({ status: 401, code: "invalid_api_key" });
    await expect(bench.openai("sk-mallory").models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    const answered = await bench.openai("sk-alice").completions.create({ ...plain, max_tokens: 5 });
    expect(answered.choices[0]?.text).toBe("ok");
    await rm(join(folder, "alice"));
    await keys.refresh();
    await expect(bench.openai("sk-alice").models.list()).rejects.toMatchObject({ status: 401 });
    await rm(folder, { recursive: true });
    expect((await fetch(`${bench.url}/readyz`)).status).toBe(200);
  });
});

describe("a request that cannot be served now", () => {
  it("gets 503 with Retry-After at once while there has been no group", async () => {
    await start({ ranks: [] });
    expect((await fetch(`${bench.url}/readyz`)).status).toBe(200);
    const error = await errorOf("/v1/completions", plain);
    expect(error).toMatchObject({ status: 503, type: "service_unavailable_error", retryAfter: "2" });
    expect((await bench.openai().models.list()).data[0]?.id).toBe("tiny");
  });

  it("gets 503 while there is a pool but no prefill group", async () => {
    await start({ ranks: [{ name: "m-decode-0", group: "m-decode", role: "decode" }] });
    expect(await errorOf("/v1/completions", plain)).toMatchObject({ status: 503, code: "no_group_ready" });
  });

  it("gets 429 with Retry-After once it has waited for pages in vain", async () => {
    await start({
      patience: { queueMs: 400 },
      ranks: [
        { name: "m-prefill-0-0", group: "m-prefill-0", role: "prefill" },
        { name: "m-decode-0", group: "m-decode", role: "decode", pages: 1 },
      ],
    });
    const prompt = Array.from({ length: 40 }, () => 70);
    const error = await errorOf("/v1/completions", { ...plain, prompt });
    expect(error).toMatchObject({
      status: 429,
      type: "rate_limit_error",
      code: "out_of_pages",
      retryAfter: "3",
    });
    expect(error.message).toContain("2 missing, 1 free");
  });

  it("waits for pages that come free in time", async () => {
    await start({
      answer: "ok",
      patience: { queueMs: 20_000 },
      ranks: [
        { name: "m-prefill-0-0", group: "m-prefill-0", role: "prefill" },
        { name: "m-decode-0", group: "m-decode", role: "decode", pages: 1 },
      ],
    });
    bench.world.tokenMs = 50;
    const answers = await Promise.all(
      [1, 2, 3].map(() => bench.openai().completions.create({ ...plain, max_tokens: 5 })),
    );
    expect(answers.map(({ choices }) => choices[0]?.text)).toEqual(["ok", "ok", "ok"]);
  });

  it("tries the next pool when one is full", async () => {
    await start({
      answer: "ok",
      ranks: [
        { name: "m-prefill-0-0", group: "m-prefill-0", role: "prefill" },
        { name: "a-decode-0", group: "a-decode", role: "decode" },
        { name: "b-decode-0", group: "b-decode", role: "decode" },
      ],
    });
    for (const name of ["a-decode-0", "b-decode-0"]) {
      bench
        .rank(name)
        .faults.push({ verb: "reserve", what: { code: "out_of_pages", message: "full", missingPages: 1 } });
    }
    const answered = await bench.openai().completions.create({ ...plain, max_tokens: 5 });
    expect(answered.choices[0]?.text).toBe("ok");
  });

  it("does not take the gateway's own mistakes to the client", async () => {
    await start();
    bench
      .rank("m-decode-0")
      .faults.push({ verb: "reserve", what: { code: "bad_request", message: "secret inside" } });
    const error = await errorOf("/v1/completions", plain);
    expect(error).toMatchObject({ status: 500, type: "server_error" });
    expect(error.message).not.toContain("secret");
  });
});
