import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { gatewayReading } from "./gatewayReading.ts";
import { parseMetricText } from "./metricText.ts";

/** Written by the gateway; its own test compares. */
const text = readFileSync(new URL("../../runtime/wire/demandMetrics.golden.txt", import.meta.url), "utf8");
const of = { pod: "g", podUid: "u", atMs: 1_000, classes: ["short", "long"] };

it("reads what a gateway writes", () => {
  const reading = gatewayReading(text, of);
  expect(reading.classes["short"]).toMatchObject({ arrived: 1, tokens: 3, squared: 9, waiting: 0 });
  expect(reading.classes["long"]).toMatchObject({ arrived: 2, tokens: 402, squared: 80_802, decoding: 0 });
  expect(reading.classes["long"]?.lengths.at(-1)).toEqual({ upTo: Infinity, count: 2 });
  expect(reading.output).toEqual({ count: 3, tokens: 24 });
  expect(reading.tokenGaps.at(-1)).toEqual({ upTo: Infinity, count: 7 });
  expect(reading.waitingForRanks).toBe(0);
});

describe("a reading that can't be relied on is none", () => {
  const without = (line: string) => text.replace(new RegExp(`^${line}.*\n`, "m"), "");
  const saying = (line: string, value: string) =>
    text.replace(new RegExp(`^(${line}) .*$`, "m"), `$1 ${value}`);
  const sum = 'csps_gateway_prompt_tokens_sum\\{class="long"\\}';

  it.each([
    ["a missing metric", without(sum), 'csps_gateway_prompt_tokens_sum{class="long"} is missing'],
    ["NaN", saying(sum, "NaN"), 'csps_gateway_prompt_tokens_sum{class="long"} is NaN'],
    ["a negative count", saying(sum, "-1"), "is -1, which can't be true"],
    ["infinity", saying("csps_gateway_output_tokens_sum", "+Inf"), "is Infinity"],
    ["a page that is no metrics", "<html>\n", "line 1 is no sample: <html>"],
    ["a page that was cut off", text.slice(0, text.lastIndexOf('{class="long"}') + 8), "is no sample"],
    ["nothing", "", "is missing"],
  ])("for %s", (_, page, says) => {
    expect(() => gatewayReading(page, of)).toThrow(says);
  });

  it("for a gateway that counts by the classes of an earlier spec", () => {
    expect(() => gatewayReading(text, { ...of, classes: ["short", "huge"] })).toThrow(
      '{class="huge"} is missing',
    );
  });
});

it("takes labels with escapes, timestamps and numbers of every form", () => {
  const samples = parseMetricText(
    'a{b="x\\"y\\\\z\\n",c=""} 1e3 1700000000\n# a comment\n\nd -Inf\ne{} .5\n',
  );
  expect(samples.get("a")).toEqual([{ labels: { b: 'x"y\\z\n', c: "" }, value: 1_000 }]);
  expect(samples.get("d")?.[0]?.value).toBe(-Infinity);
  expect(samples.get("e")).toEqual([{ labels: {}, value: 0.5 }]);
});
