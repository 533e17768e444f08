import { expect, test } from "vitest";
import { world } from "./world.ts";

test("the quickstart prints an answer, its times, what served it and what to try next", () => {
  const { output, tookMs } = world.quickstart;
  console.log(`   the quickstart took ${(tookMs / 1000).toFixed(0)} s`);
  expect(output).toMatch(/Paris/);
  expect(output).toMatch(/first token|TTFT/i);
  expect(output).toMatch(/tokens\/s/);
  expect(output).toMatch(new RegExp(`${world.deployment}-prefill-0-1.*${world.cluster}-worker`));
  expect(output).toMatch(/--down/);
});
