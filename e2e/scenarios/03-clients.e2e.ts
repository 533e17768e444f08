import OpenAI, { BadRequestError, NotFoundError } from "openai";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Forward } from "../quickstart/forward.ts";
import { run } from "../cluster/command.ts";
import { pythonEnv } from "../cluster/pythonEnv.ts";
import { openGateway, MODEL } from "./world.ts";

let door: Forward;
let client: OpenAI;

beforeAll(async () => {
  door = await openGateway();
  client = new OpenAI({
    baseURL: `${door.url}/v1`,
    apiKey: "none asked for",
    maxRetries: 0,
    timeout: 240_000,
  });
}, 360_000);

afterAll(() => {
  door.close();
});

const messages = [{ role: "user" as const, content: "Say hello." }];

test("the npm client lists models", async () => {
  const ids: string[] = [];
  for await (const model of client.models.list()) ids.push(model.id);
  expect(ids).toEqual([MODEL]);
});

test("the npm client chats, and its stream adds up to the same answer", { timeout: 600_000 }, async () => {
  const body = { model: MODEL, messages, max_tokens: 24, temperature: 0 };
  const whole = await client.chat.completions.create(body);
  let streamed = "";
  let usage = 0;
  const stream = await client.chat.completions.create({
    ...body,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const part of stream) {
    streamed += part.choices[0]?.delta.content ?? "";
    usage = part.usage?.completion_tokens ?? usage;
  }
  expect(streamed).toBe(whole.choices[0]?.message.content);
  expect(streamed).not.toBe("");
  expect(usage).toBe(whole.usage?.completion_tokens);
});

test("the npm client completes and a stop string is cut off", { timeout: 600_000 }, async () => {
  const body = { model: MODEL, prompt: "1, 2, 3, 4,", max_tokens: 24, temperature: 0 };
  const whole = await client.completions.create(body);
  const text = whole.choices[0]?.text ?? "";
  const stop = text.slice(6, 9);
  const stopped = await client.completions.create({ ...body, stop });
  expect(stopped.choices[0]?.finish_reason).toBe("stop");
  expect(stopped.choices[0]?.text).toBe(text.slice(0, text.indexOf(stop)));
});

test("the npm client sees errors as their own classes", async () => {
  const unknown = client.chat.completions.create({ model: "no-such-model", messages });
  await expect(unknown).rejects.toBeInstanceOf(NotFoundError);
  const empty = client.completions.create({ model: MODEL, prompt: "" });
  await expect(empty).rejects.toBeInstanceOf(BadRequestError);
  const long = client.completions.create({ model: MODEL, prompt: "word ".repeat(9000) });
  const error: unknown = await long.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(BadRequestError);
  expect(error).toMatchObject({ code: "context_length_exceeded" });
  expect(String(error)).toMatch(/8192.*90\d\d|90\d\d.*8192/s);
});

test("malformed JSON and wrong types are refused with code and param", async () => {
  const post = async (body: string): Promise<{ status: number; error: unknown }> => {
    const response = await fetch(`${door.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    return { status: response.status, error: ((await response.json()) as { error: unknown }).error };
  };
  expect(await post("{")).toMatchObject({ status: 400, error: { type: "invalid_request_error" } });
  const wrong = await post(JSON.stringify({ model: MODEL, prompt: "x", max_tokens: "many" }));
  expect(wrong).toMatchObject({ status: 400, error: { param: "max_tokens" } });
});

test("the PyPI client works unmodified", { timeout: 900_000 }, async () => {
  const { python } = await pythonEnv();
  const output = await run(python, [join(import.meta.dirname, "client.py"), door.url, MODEL], {
    timeoutMs: 800_000,
  });
  expect(output.trim().split("\n").at(-1)).toBe("all good");
});
