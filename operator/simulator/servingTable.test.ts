import { describe, expect, it } from "vitest";
import type { Report } from "./report.ts";
import type { ServingPolicy } from "./serving/system.ts";
import { besideChunked, bestRows, missing, ratioRows } from "./servingTable.ts";

const same = (value: number) => ({ mean: value, p50: value, p90: value, p99: value });

/** Of a policy all of whose times are `seconds`. */
function report(policy: ServingPolicy, seconds: number, refused = 0): readonly [ServingPolicy, Report] {
  return [
    policy,
    {
      trace: "t",
      synthetic: false,
      policy,
      gpus: 16,
      requests: 100,
      refused,
      stuck: 0,
      ttftSeconds: same(seconds),
      tbtSeconds: same(seconds),
      responseSeconds: same(seconds),
      inputTokensPerSecond: 1 / seconds,
      outputTokensPerSecond: 1 / seconds,
      goodputPerSecond: 1,
      attainment: 1,
      gpuHours: 1,
      virtualSeconds: 1,
    },
  ];
}

const at = (load: number, ...reports: (readonly [ServingPolicy, Report])[]) =>
  besideChunked(load, new Map(reports));

describe("serving policies beside chunked prefill", () => {
  it("are told above 1 where they are better, in times and in throughput", () => {
    const rows = ratioRows(at(2, report("chunked", 3), report("csps", 2), report("fixed-split", 6)));
    expect(Object.keys(rows)).toEqual([
      "2x csps (elastic roles + sparse)",
      "2x fixed-split (nearest to deployed)",
    ]);
    expect(Object.values(rows).map((row) => [...new Set(Object.values(row))])).toEqual([[1.5], [0.5]]);
  });

  it("have the best of the sweep with its load, each policy its own", () => {
    const rows = [
      ...at(1, report("chunked", 4), report("csps", 2), report("csps-dense", 4)),
      ...at(8, report("chunked", 4), report("csps", 4), report("csps-dense", 1)),
    ];
    expect(bestRows(rows)["mean TTFT"]).toEqual({
      "paper, up to": 7.5,
      "csps (elastic roles + sparse)": "2.00 at 1x",
      "csps-dense (elastic roles)": "4.00 at 8x",
      "fixed-split (nearest to deployed)": "not comparable",
    });
  });

  it("are not compared where one refuses other prompts than the other, and it is said why", () => {
    const rows = at(1, report("chunked", 4, 7), report("csps", 2), report("csps-dense", 2, 7));
    expect(Object.keys(ratioRows(rows))).toEqual(["1x csps-dense (elastic roles)"]);
    expect(missing(rows)).toContain("1 rows are not comparable: csps refuses 0 of 100 and chunked 7.");
    expect(missing(at(1, report("chunked", 4, 7), report("csps", 2)))).toContain("No row is comparable");
    expect(missing(at(1, report("chunked", 4), report("csps", 2)))).toBeUndefined();
  });
});
