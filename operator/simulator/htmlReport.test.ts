import { describe, expect, it } from "vitest";
import { fixedSize } from "./autoscalers/fixed.ts";
import { htmlReport } from "./htmlReport.ts";
import { prepare } from "./scalingScenario.ts";
import { objectivesOf, profileNamed } from "./setting.ts";
import { simulate } from "./simulate.ts";
import { simulateScaled } from "./simulateScaled.ts";
import { synthesize } from "./traces/synthetic.ts";

describe("the page of reports", () => {
  const trace = { ...synthesize({ requests: 100, maxInputTokens: 20_000 }), name: "<b>&made" };
  const setting = prepare({
    title: "made",
    trace,
    cost: profileNamed("8b-h100"),
    objectives: objectivesOf(20_000, 0.05),
  });
  const report = simulateScaled({ ...setting, autoscaler: fixedSize("fixed", setting.start) });
  const { cost, objectives } = setting;
  const shape = { cost, ranks: 4, prefillRanks: 2, groupSize: 2, chunkTokens: 2_048, tbtSeconds: 0.05 };
  const unscaled = simulate({ trace, policy: "chunked", shape, objectives });

  it("needs nothing from elsewhere, marks what is synthetic and escapes names", () => {
    const page = htmlReport([report]);
    expect(page).not.toMatch(/(src|href)=|https?:|@import|<script/);
    expect(page).toContain("<title>&lt;b>&amp;made, synthetic: 100 requests</title>");
    expect(page).not.toContain("<b>");
  });

  it("draws the tails of each policy, and counts over time where they change", () => {
    const page = htmlReport([report, unscaled]);
    expect(page.match(/<rect /g)).toHaveLength(2 * 3 * 3);
    expect(page.match(/<path /g)).toHaveLength(2);
    expect(page).not.toContain("NaN");
  });
});
