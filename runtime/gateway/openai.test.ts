import { afterEach, describe, expect, it } from "vitest";
import { prefillRequest } from "../wire/schema/serving.ts";
import type { Bench, BenchSettings } from "./testing/gatewayBench.ts";
import { startBench } from "./testing/gatewayBench.ts";
import { answerMark } from "./testing/tinyModel.ts";

let bench: Bench;

afterEach(async () => {
  await bench.close();
});

async function start(settings: BenchSettings = {}): Promise<ReturnType<Bench["openai"]>> {
  bench = await startBench(settings);
  return bench.openai();
}

const prompt = `Say hello.${answerMark}`;
const messages = [{ role: "user" as const, content: "Say hello." }];
const hello = "Hello there, wörld 🙂!";

describe("the official client", () => {
  it("completes a prompt, with usage and where it ran", async () => {
    const openai = await start();
    const { data, response } = await openai.completions
      .create({ model: "tiny", prompt, max_tokens: 64, temperature: 0 })
      .withResponse();
    expect(data.choices).toEqual([{ index: 0, text: hello, logprobs: null, finish_reason: "stop" }]);
    const completionTokens = new TextEncoder().encode(hello).length + 1;
    expect(data.usage?.completion_tokens).toBe(completionTokens);
    expect(data.usage?.total_tokens).toBe((data.usage?.prompt_tokens ?? 0) + completionTokens);
    expect(response.headers.get("x-csps-prefill-ranks")).toBe("m-prefill-0-0");
    expect(response.headers.get("x-csps-decode-ranks")).toBe("m-decode-0");
    expect(Number(response.headers.get("x-csps-ttft-ms"))).toBeGreaterThanOrEqual(0);
  });

  it("chats, whole and as a stream, with the same text", async () => {
    const openai = await start();
    const whole = await openai.chat.completions.create({ model: "tiny", messages });
    expect(whole.choices[0]?.message).toMatchObject({ role: "assistant", content: hello });
    expect(whole.choices[0]?.finish_reason).toBe("stop");

    const stream = await openai.chat.completions.create({
      model: "tiny",
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks[0]?.choices[0]?.delta.role).toBe("assistant");
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(hello);
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe("stop");
    expect(chunks.at(-1)?.usage).toMatchObject({
      prompt_tokens: whole.usage?.prompt_tokens,
      completion_tokens: whole.usage?.completion_tokens,
      total_tokens: whole.usage?.total_tokens,
    });
    expect(chunks.at(-1)?.choices).toEqual([]);
  });

  it("tells how much of a prompt was kept from an earlier one, whole and as a stream", async () => {
    const openai = await start();
    const long = `${"The same beginning. ".repeat(8)}${prompt}`;
    const body = { model: "tiny", prompt: long, max_tokens: 64 };
    const first = await openai.completions.create(body);
    expect(first.usage?.prompt_tokens_details?.cached_tokens).toBe(0);
    const again = await openai.completions.create(body);
    const kept = 16 * Math.floor(((again.usage?.prompt_tokens ?? 0) - 1) / 16);
    expect(again.usage?.prompt_tokens_details?.cached_tokens).toBe(kept);
    expect(kept).toBeGreaterThan(100);
    const stream = await openai.completions.create({
      ...body,
      prompt: long.replace("hello", "something else"),
      stream: true,
      stream_options: { include_usage: true },
    });
    let usage;
    for await (const chunk of stream) usage = chunk.usage ?? usage;
    expect(usage?.prompt_tokens_details?.cached_tokens).toBe(160);
  });

  it("keeps prompts of different salts apart, with the completions and the chats alike", async () => {
    const openai = await start();
    const long = "The same beginning. ".repeat(8);
    const kept = async (way: "completions" | "chat", salt?: string): Promise<number | undefined> => {
      const salted = { model: "tiny", max_tokens: 64, ...(salt === undefined ? {} : { cache_salt: salt }) };
      const answer =
        way === "chat"
          ? await openai.chat.completions.create({ ...salted, messages: [{ role: "user", content: long }] })
          : await openai.completions.create({ ...salted, prompt: `${long}${prompt}` });
      return answer.usage?.prompt_tokens_details?.cached_tokens;
    };
    for (const way of ["completions", "chat"] as const) {
      expect([await kept(way), await kept(way, "one"), await kept(way, "other")]).toEqual([0, 0, 0]);
      for (const salt of [undefined, "one", "other"]) expect(await kept(way, salt)).toBeGreaterThan(100);
    }
    const prefills = bench.rank("m-prefill-0-0").calls.filter(({ verb }) => verb === "prefill");
    const salts = prefills.map(({ body }) => prefillRequest.parse(body).cacheSalt);
    const each = [undefined, "one", "other"];
    expect(salts).toEqual([...each, ...each, ...each, ...each]);
  });

  it("streams characters whole although their bytes come in different tokens", async () => {
    const openai = await start({ answer: "🙂ö你" });
    const stream = await openai.completions.create({ model: "tiny", prompt, max_tokens: 64, stream: true });
    const texts: string[] = [];
    for await (const chunk of stream) texts.push(chunk.choices[0]?.text ?? "");
    expect(texts.filter((text) => text !== "")).toEqual(["🙂", "ö", "你"]);
  });

  it("stops at a stop string that spans tokens and shows no part of it", async () => {
    const openai = await start({ answer: "one two STOP three" });
    const whole = await openai.completions.create({
      model: "tiny",
      prompt,
      max_tokens: 64,
      stop: [" STOP", "zzz"],
    });
    expect(whole.choices[0]).toMatchObject({ text: "one two", finish_reason: "stop" });
    const stream = await openai.completions.create({
      model: "tiny",
      prompt,
      max_tokens: 64,
      stop: "STOP",
      stream: true,
    });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.text ?? "";
    expect(text).toBe("one two ");
    await expect.poll(() => bench.rank("m-decode-0").held.size, { timeout: 15_000 }).toBe(0);
  });

  it("ends at max_tokens with finish_reason length", async () => {
    const openai = await start();
    for (const max_tokens of [1, 2, 5]) {
      const whole = await openai.chat.completions.create({
        model: "tiny",
        messages,
        max_completion_tokens: max_tokens,
      });
      expect(whole.choices[0]?.message.content).toBe(hello.slice(0, max_tokens));
      expect(whole.choices[0]?.finish_reason).toBe("length");
      expect(whole.usage?.completion_tokens).toBe(max_tokens);
    }
    expect(bench.rank("m-decode-0").held.size).toBe(0);
  });

  it("goes on past the model's end where that is asked for, up to max_tokens or a stop string", async () => {
    const openai = await start({ answer: "ok" });
    const request = { model: "tiny", prompt, max_tokens: 8 };
    const ended = await openai.completions.create(request);
    expect(ended.choices[0]).toMatchObject({ text: "ok", finish_reason: "stop" });
    const body = { ...request, ignore_eos: true };
    const on = await openai.completions.create(body);
    expect(on.choices[0]?.finish_reason).toBe("length");
    expect(on.choices[0]?.text.startsWith("ok")).toBe(true);
    expect(on.usage?.completion_tokens).toBe(8);
    const stopped = await openai.completions.create({ ...body, stop: "k" });
    expect(stopped.choices[0]).toMatchObject({ text: "o", finish_reason: "stop" });
  });

  it("gives one choice per prompt, from text and from token ids", async () => {
    const openai = await start({ answer: "ok" });
    const ofTexts = await openai.completions.create({
      model: "tiny",
      prompt: [prompt, `b${answerMark}`],
      max_tokens: 9,
    });
    expect(ofTexts.choices.map(({ index, text }) => [index, text])).toEqual([
      [0, "ok"],
      [1, "ok"],
    ]);
    const ofIds = await openai.completions.create({ model: "tiny", prompt: [70, 71, 2], max_tokens: 9 });
    expect(ofIds.choices[0]?.text).toBe("ok");
    expect(ofIds.usage?.prompt_tokens).toBe(3);
    const stream = await openai.completions.create({
      model: "tiny",
      prompt: [[70, 2], [2]],
      max_tokens: 9,
      stream: true,
    });
    const texts: [string, string] = ["", ""];
    for await (const { choices } of stream) {
      for (const { index, text } of choices) texts[index === 0 ? 0 : 1] += text;
    }
    expect(texts).toEqual(["ok", "ok"]);
  });

  it("reports log-probabilities in the forms of both APIs, aligned with the text", async () => {
    const openai = await start({ answer: "aö" });
    const chat = await openai.chat.completions.create({
      model: "tiny",
      messages,
      logprobs: true,
      top_logprobs: 2,
    });
    const content = chat.choices[0]?.logprobs?.content ?? [];
    expect(content.map(({ token, bytes }) => [token, bytes])).toEqual([
      ["a", [97]],
      ["\ufffd", [0xc3]],
      ["\ufffd", [0xb6]],
    ]);
    expect(content[0]?.top_logprobs).toHaveLength(2);
    const whole = await openai.completions.create({ model: "tiny", prompt, max_tokens: 9, logprobs: 2 });
    expect(whole.choices[0]?.logprobs).toMatchObject({
      token_logprobs: [-0.5, -0.5, -0.5],
      text_offset: [0, 1, 2],
    });
    expect(whole.choices[0]?.logprobs?.top_logprobs?.[0]).toMatchObject({ a: -0.5 });

    const stream = await openai.chat.completions.create({
      model: "tiny",
      messages,
      logprobs: true,
      stream: true,
    });
    const streamed: number[] = [];
    for await (const { choices } of stream)
      for (const entry of choices[0]?.logprobs?.content ?? []) streamed.push(...(entry.bytes ?? []));
    expect(streamed).toEqual([97, 0xc3, 0xb6]);
  });

  it("passes sampling on as asked, and one seed for all attempts when none is given", async () => {
    const openai = await start();
    await openai.completions.create({
      model: "tiny",
      prompt,
      temperature: 0.5,
      top_p: 0.9,
      seed: 7,
      max_tokens: 3,
    });
    await openai.completions.create({ model: "tiny", prompt, max_tokens: 3 });
    const sent = bench.rank("m-prefill-0-0").calls.filter(({ verb }) => verb === "prefill");
    expect(sent[0]?.body).toMatchObject({
      sampling: { temperature: 0.5, topP: 0.9, seed: 7, wantLogprobs: false },
    });
    expect(sent[1]?.body).toMatchObject({ sampling: { temperature: 1, topP: 1 } });
  });

  it("lists the model and shows it", async () => {
    const openai = await start({ descriptor: { name: "org/tiny" } });
    const models = await openai.models.list();
    expect(models.data.map(({ id }) => id)).toEqual(["org/tiny"]);
    expect(await openai.models.retrieve("org/tiny")).toMatchObject({ id: "org/tiny", max_model_len: 512 });
    await expect(openai.models.retrieve("other")).rejects.toMatchObject({
      status: 404,
      code: "model_not_found",
    });
  });
});
