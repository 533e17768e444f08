import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { parseAzure } from "./azure.ts";
import { loadTrace } from "./load.ts";
import { parseMooncake } from "./mooncake.ts";
import { synthesize } from "./synthetic.ts";

const good = '{"timestamp": 3000, "input_length": 10, "output_length": 5, "hash_ids": [1]}';

describe("the trace readers", () => {
  it("read Mooncake's lines from the first arrival on", () => {
    const later = good.replace("3000", "6500");
    expect(parseMooncake("m", `${good}\n${later}\n`).requests).toEqual([
      { arrivalSeconds: 0, inputTokens: 10, outputTokens: 5 },
      { arrivalSeconds: 3.5, inputTokens: 10, outputTokens: 5 },
    ]);
  });

  it.each([
    [`${good}\n{"timestamp": 1`, "m, line 2, field (whole line): is not JSON"],
    [`\n${good.replace("input_length", "x")}`, "m, line 2, field input_length: is missing"],
    [good.replace("3000", '"now"'), 'm, line 1, field timestamp: "now" is not a number of at least 0'],
    [good.replace("10", "0"), "m, line 1, field input_length: 0 is not a whole number of at least 1"],
    [good.replace("10", "1.5"), "m, line 1, field input_length: 1.5 is not a whole number of at least 1"],
    ["[1]", "m, line 1, field (whole line): is not a JSON object"],
  ])("names line and field of what is wrong in %j", (text, message) => {
    expect(() => parseMooncake("m", text)).toThrow(message);
  });

  const header = "TIMESTAMP,ContextTokens,GeneratedTokens";
  it("read Azure's times to a part of a second, and lines in any order", () => {
    const text = `${header}\r\n2023-11-16 18:17:04.5000000,7,1\r\n2023-11-16 18:17:03.9799600,4808,10\r\n`;
    const [first, second] = parseAzure("a", text).requests;
    expect(first).toEqual({ arrivalSeconds: 0, inputTokens: 4808, outputTokens: 10 });
    expect(second?.arrivalSeconds).toBeCloseTo(0.52, 3);
  });

  it.each([
    ["TIMESTAMP,GeneratedTokens", "a, line 1, field ContextTokens: the header has no such column"],
    [`${header}\nyesterday,1,1`, 'a, line 2, field TIMESTAMP: "yesterday" is not a time'],
    [
      `${header}\n2023-11-16 18:17:03,,1`,
      'a, line 2, field ContextTokens: "" is not a whole number of at least 1',
    ],
    [
      `${header}\n2023-11-16 18:17:03,5`,
      'a, line 2, field GeneratedTokens: "" is not a whole number of at least 0',
    ],
  ])("name line and field of %j", (text, message) => {
    expect(() => parseAzure("a", text)).toThrow(message);
  });

  const folder = mkdtempSync(join(tmpdir(), "csps-traces-"));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const fileOf = (name: string, content: string | Buffer): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };

  it("unpack what ends in .gz", () => {
    expect(loadTrace(fileOf("a.jsonl.gz", gzipSync(good)))).toMatchObject({
      name: "a.jsonl.gz",
      synthetic: false,
    });
  });

  it.each([
    ["empty.jsonl", "", "empty.jsonl holds no request"],
    ["header.csv", header, "header.csv holds no request"],
    ["damaged.csv.gz", "no gzip", "damaged.csv.gz can't be read: "],
    ["trace.txt", good, "trace.txt: a trace ends in .jsonl, .csv, .jsonl.gz or .csv.gz"],
  ])("refuse %s by its name", (name, content, message) => {
    const path = fileOf(name, content);
    expect(() => loadTrace(path)).toThrow(message);
  });

  it("generate the same marked trace from the same seed", () => {
    const trace = synthesize({ requests: 2_000, hugeShare: 0.01 });
    expect(trace).toEqual(synthesize({ requests: 2_000, hugeShare: 0.01 }));
    expect(trace).not.toEqual(synthesize({ requests: 2_000, hugeShare: 0.01, seed: 2 }));
    expect(trace.synthetic).toBe(true);
    const rate = 2_000 / (trace.requests.at(-1)?.arrivalSeconds ?? 0);
    expect(rate).toBeGreaterThan(2.7);
    expect(rate).toBeLessThan(3.3);
  });
});
