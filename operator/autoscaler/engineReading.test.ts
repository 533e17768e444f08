import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { engineMetrics } from "../../runtime/wire/engineMetrics.ts";
import { type EngineReading, engineReading } from "./engineReading.ts";
import { liveContextTokens } from "./liveContext.ts";

/** Written by the engine of a golden state; its own test compares. */
const text = readFileSync(new URL("../../runtime/wire/engineMetrics.golden.txt", import.meta.url), "utf8");
const of = { pod: "r", podUid: "5f1c0b1e-0000-4000-8000-000000000000", atMs: 1_000 };

it("reads what an engine writes", () => {
  expect(engineReading(text, of)).toEqual({
    ...of,
    role: "prefill",
    coordinates: true,
    pageTokens: 64,
    pages: { total: 256, free: 250 },
    pool: { total: 512, free: 500 },
  });
});

it("knows every gauge that an engine writes of its state", () => {
  const written = [...text.matchAll(/^# TYPE (\S+) gauge$/gm)].map(([, name]) => name);
  expect(written).toEqual(Object.values(engineMetrics).map(({ name }) => name));
});

describe("a reading that can't be relied on is none", () => {
  const without = (name: string) => text.replace(new RegExp(`^${name}[ {].*\n`, "m"), "");
  const saying = (name: string, value: string) =>
    text.replace(new RegExp(`^(${name}(?:{.*})?) .*$`, "m"), `$1 ${value}`);
  const labelled = (from: string, to: string) => text.replace(from, to);

  it.each([
    ["an engine from before these metrics", "csps_epoch 3.0\n", "csps_rank_info is missing"],
    ["a missing metric", without("csps_kv_pages"), "csps_kv_pages is missing"],
    [
      "one of the pool that is missing",
      without("csps_pool_kv_pages_free"),
      "csps_pool_kv_pages_free is missing",
    ],
    ["NaN", saying("csps_kv_pages_free", "NaN"), "csps_kv_pages_free is NaN, which can't be true"],
    ["a negative count", saying("csps_kv_pages_free", "-1"), "csps_kv_pages_free is -1, which can't be true"],
    ["infinity", saying("csps_pool_kv_pages", "+Inf"), "csps_pool_kv_pages is Infinity"],
    ["half a page", saying("csps_kv_pages", "255.5"), "csps_kv_pages is 255.5, which can't be true"],
    ["more free than there are", saying("csps_kv_pages_free", "257"), "csps_kv_pages_free is 257 of 256"],
    ["pages of no tokens", saying("csps_kv_page_tokens", "0"), "csps_kv_page_tokens is 0"],
    [
      "a rank that tells of two",
      `${text}csps_rank_info{incarnation="u"} 1\n`,
      "csps_rank_info is there 2 times",
    ],
    ["a gauge that is there twice", `${text}csps_kv_pages{rank="b"} 1\n`, "csps_kv_pages is there 2 times"],
    ["another incarnation", labelled("5f1c0b1e", "00000000"), "csps_rank_info is of pod 00000000-0000-4000"],
    ["no incarnation", labelled("incarnation=", "pod="), "csps_rank_info is of pod  and not of 5f1c0b1e"],
    ["an unknown role", labelled('role="prefill"', 'role="cook"'), 'csps_rank_info has no role "cook"'],
    ["a page that is no metrics", "<html>\n", "line 1 is no sample: <html>"],
    ["a page that was cut off", text.slice(0, text.indexOf('{deployment="chat"') + 8), "is no sample"],
    ["nothing", "", "csps_rank_info is missing"],
  ])("for %s", (_, page, says) => {
    expect(() => engineReading(page, of)).toThrow(says);
  });
});

describe("the KV in use", () => {
  const reading = (more: Partial<EngineReading>): EngineReading => ({
    ...{ ...of, role: "decode", coordinates: false, pageTokens: 64 },
    ...{ pages: { total: 8, free: 8 }, pool: { total: 0, free: 0 } },
    ...more,
  });
  const speaks = { coordinates: true, pool: { total: 16, free: 10 } };

  it("is what the pool's coordinator tells", () => {
    const prefill = reading({ ...speaks, role: "prefill" });
    expect(liveContextTokens([prefill, reading({}), reading(speaks)])).toBe(6 * 64);
  });

  it("is what was told last where two were coordinators within the age of a sample", () => {
    const later = reading({ ...speaks, atMs: 2_000, pool: { total: 16, free: 15 } });
    expect(liveContextTokens([reading(speaks), later])).toBe(64);
  });

  it("is unknown, and not none, while no rank speaks for the pool", () => {
    expect(liveContextTokens([])).toBeUndefined();
    expect(liveContextTokens([reading({}), reading({ coordinates: true })])).toBeUndefined();
    expect(liveContextTokens([reading({ ...speaks, role: "prefill" })])).toBeUndefined();
  });
});
