/** What the operator's reader is tried on is what this gateway writes. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { demandMetrics } from "../../wire/demandMetrics.ts";
import type { Bench } from "../testing/gatewayBench.ts";
import { startBench } from "../testing/gatewayBench.ts";
import { answerMark } from "../testing/tinyModel.ts";

const golden = new URL("../../wire/demandMetrics.golden.txt", import.meta.url);
let bench: Bench;

beforeAll(async () => {
  const classes = [
    { name: "short", upToTokens: 20 },
    { name: "long", upToTokens: 1_000 },
  ];
  bench = await startBench({ classes });
});

afterAll(async () => {
  await bench.close();
});

/** Lines of the metrics that the autoscaler reads; how fast tokens came is another each time. */
async function demandLines(): Promise<string> {
  const text = await (await fetch(`${bench.url}/metrics`)).text();
  const names = Object.values(demandMetrics);
  const lines = text.split("\n").filter((line) => names.some((name) => line.includes(name)));
  const timed = demandMetrics.interTokenLatency;
  return `${lines.map((line) => (line.startsWith(timed) ? line.replace(/ [^ ]+$/, " 7") : line)).join("\n")}\n`;
}

it("writes the demand metrics as they are kept for the reader", async () => {
  for (const prompt of ["hi", "x".repeat(200), "x".repeat(200)])
    await bench.post("/v1/completions", { model: "tiny", prompt: prompt + answerMark, max_tokens: 8 });
  expect(await demandLines()).toBe(readFileSync(golden, "utf8"));
});
