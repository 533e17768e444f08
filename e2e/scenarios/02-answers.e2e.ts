import { afterAll, beforeAll, expect, test } from "vitest";
import type { Forward } from "../quickstart/forward.ts";
import { complete } from "./gateway.ts";
import { CHATS, PROMPTS, story } from "./prompts.ts";
import { type Answers, reference, REFERENCE_TOKENS } from "./reference.ts";
import { openGateway, MODEL } from "./world.ts";
import { z } from "zod";

const MINUTE = 60_000;
const chatAnswer = z.object({
  choices: z.tuple([z.object({ message: z.object({ content: z.string() }), finish_reason: z.string() })]),
  usage: z.object({ prompt_tokens: z.int(), completion_tokens: z.int() }),
});

let door: Forward;
let expected: Answers;

beforeAll(async () => {
  expected = await reference();
  door = await openGateway();
}, 60 * MINUTE);

afterAll(() => {
  door.close();
});

test.each(Object.keys(PROMPTS))(
  "the greedy completion of the prompt of %s equals the reference",
  { timeout: 16 * MINUTE },
  async (name) => {
    const answer = await complete(
      door.url,
      MODEL,
      { prompt: PROMPTS[name] ?? "", maxTokens: REFERENCE_TOKENS },
      15 * MINUTE,
    );
    console.log(
      `   ${name}: ${answer.promptTokens} prompt tokens, first token after ${answer.firstTokenMs} ms, ` +
        `${answer.completionTokens} tokens in ${answer.totalMs} ms`,
    );
    expect(answer.promptTokens).toBe(expected[name]?.prompt_tokens);
    expect(answer.text).toBe(expected[name]?.text);
  },
);

test.each(Object.keys(CHATS))("the greedy chat answer to the %s equals the reference", async (name) => {
  const response = await fetch(`${door.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    signal: AbortSignal.timeout(2 * MINUTE),
    body: JSON.stringify({
      model: MODEL,
      messages: CHATS[name],
      max_tokens: REFERENCE_TOKENS,
      temperature: 0,
    }),
  });
  const answer = chatAnswer.parse(await response.json());
  expect(answer.usage.prompt_tokens).toBe(expected[name]?.prompt_tokens);
  expect(answer.choices[0].message.content).toBe(expected[name]?.text);
});

test("eight concurrent streams give the same text as each alone", { timeout: 30 * MINUTE }, async () => {
  const prompts = Array.from({ length: 8 }, (_, index) => `Chapter ${index + 1}. ${story(20 + 20 * index)}`);
  const ask = async (prompt: string, maxTokens: number): Promise<string> =>
    (await complete(door.url, MODEL, { prompt, maxTokens }, 15 * MINUTE)).text;
  const together = await Promise.all(prompts.map((prompt) => ask(prompt, 32)));
  // Of each stream the half in which the others run too.
  const alone: string[] = [];
  for (const prompt of prompts) alone.push(await ask(prompt, 16));
  expect(alone).not.toContain("");
  expect(together.map((text, index) => text.slice(0, alone[index]?.length))).toEqual(alone);
});

test("sampling with a seed repeats, and another seed differs", { timeout: 10 * MINUTE }, async () => {
  const ask = async (seed: number): Promise<string> =>
    (
      await complete(
        door.url,
        MODEL,
        { prompt: "Once upon a time", maxTokens: 24, temperature: 1, seed },
        3 * MINUTE,
      )
    ).text;
  const first = await ask(7);
  expect(await ask(7)).toBe(first);
  expect(await ask(8)).not.toBe(first);
});
