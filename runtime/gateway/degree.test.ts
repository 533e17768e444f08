import { afterEach, expect, it } from "vitest";
import type { PrefillRequest } from "../wire/schema/serving.ts";
import type { Bench, BenchSettings } from "./testing/gatewayBench.ts";
import { startBench } from "./testing/gatewayBench.ts";
import { answerMark } from "./testing/tinyModel.ts";

let bench: Bench;

afterEach(async () => {
  await bench.close();
});

/** What each prefill was asked with, after a short prompt and a long one. */
async function asked<Field extends keyof PrefillRequest>(
  field: Field,
  settings: Pick<BenchSettings, "degrees" | "classes">,
): Promise<PrefillRequest[Field][]> {
  bench = await startBench(settings);
  for (const words of [1, 40]) {
    const prompt = `${"Say hello. ".repeat(words)}${answerMark}`;
    await bench.openai().completions.create({ model: "tiny", prompt, max_tokens: 4, temperature: 0 });
  }
  const prefills = bench.rank("m-prefill-0-0").calls.filter(({ verb }) => verb === "prefill");
  return prefills.map(({ body }) => (body as PrefillRequest)[field]);
}

it("asks for as many ranks as the operator's degree table says for the prompt's length", async () => {
  const table = [
    { name: "short", upToTokens: 64, degree: 1 },
    { name: "long", upToTokens: 100_000, degree: 4 },
  ];
  expect(await asked("degree", { degrees: table })).toEqual([1, 4]);
});

it("asks for exact attention where the table says so, and leaves it to the ranks where not", async () => {
  const table = [
    { name: "short", upToTokens: 64, degree: 1, attention: "dense" as const },
    { name: "long", upToTokens: 100_000, degree: 4, attention: "auto" as const },
  ];
  expect(await asked("attention", { degrees: table })).toEqual(["dense", undefined]);
});

it("leaves the degree to the group when no table is known, and where the table says no degree", async () => {
  expect(await asked("degree", {})).toEqual([undefined, undefined]);
  await bench.close();
  const table = [{ name: "all", upToTokens: 64, degree: 0, attention: "dense" as const }];
  expect(await asked("degree", { degrees: table })).toEqual([undefined, undefined]);
});

it("tells the objective of the prompt's class, and that it has not waited long", async () => {
  const classes = [
    { name: "short", upToTokens: 64, ttftMs: 500 },
    { name: "long", upToTokens: 100_000 },
  ];
  expect(await asked("ttftMs", { classes })).toEqual([500, undefined]);
  const prefills = bench.rank("m-prefill-0-0").calls.filter(({ verb }) => verb === "prefill");
  const waited = prefills.map(({ body }) => (body as PrefillRequest).waitedMs);
  expect(waited).toEqual([expect.any(Number), undefined]);
});
