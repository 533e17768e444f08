import { describe, expect, it } from "vitest";
import { findings, nearest, type Aims, type Finding, type Side } from "./scalingVerdict.ts";

const run = (attainment: number, gpuHours: number, policy = "some"): Side => ({
  attainment,
  gpuHours,
  policy,
  mostReversalsInHalfHour: 0,
});
const ideal = run(1, 100);
const worse = { name: "rival", runs: [run(0.5, 200)] };

function rules(csps: Side, aims: Aims = {}, rivals = [worse]): readonly Finding["rule"][] {
  return findings({ csps, ideal, rivals }, aims).map(({ rule }) => rule);
}

describe("the verdict on an autoscaler", () => {
  it("holds what has 95 % of the goodput at 110 % of the GPU-hours and beats its rivals", () => {
    expect(rules(run(0.95, 110))).toEqual(["held", "held", "not judged", "held"]);
  });

  it("fails what attains less or uses more, each by its own rule", () => {
    expect(rules(run(0.949, 110))[0]).toBe("NOT HELD");
    expect(rules(run(0.95, 110.1))[1]).toBe("NOT HELD");
  });

  it("tells a known miss of GPU-hours as a miss, and never as held", () => {
    const known: Aims = { knownMissOfHours: "why" };
    expect(rules(run(0.95, 125), known)[1]).toBe("KNOWN MISS");
    expect(rules(run(0.95, 110), known)[1]).toBe("held");
    expect(rules(run(0.94, 125), known)[0]).toBe("NOT HELD");
  });

  it("counts reversals where a load allows no more than so many", () => {
    const turned = (times: number): Side => ({ ...run(1, 100), mostReversalsInHalfHour: times });
    expect(rules(turned(1), { mostReversals: 1 })[2]).toBe("held");
    expect(rules(turned(2), { mostReversals: 1 })[2]).toBe("NOT HELD");
    expect(rules(turned(9))[2]).toBe("not judged");
  });

  it("fails beside a rival with a setting that is not worse on both", () => {
    const rival = { name: "rival", runs: [run(0.5, 200), run(0.99, 100)] };
    const found = findings({ csps: run(0.97, 105), ideal, rivals: [rival] }, {}).at(-1);
    expect(found?.rule).toBe("NOT HELD");
    expect(found?.sentence).toContain("NOT worse on both: rival");
  });
});

describe("the settings of a rival that come nearest", () => {
  const csps = run(0.9, 10);

  it("are what attains most for no more and what uses least for as much", () => {
    const [starving, close, enough, lavish] = [run(0.5, 5), run(0.8, 10), run(0.9, 14), run(1, 30)];
    expect(nearest(csps, [lavish, enough, close, starving])).toEqual([close, enough]);
  });

  it("are the thriftiest and the best where none uses so little or attains so much", () => {
    const [thrifty, best] = [run(0.5, 11), run(0.8, 20)];
    expect(nearest(csps, [best, run(0.6, 15), thrifty])).toEqual([thrifty, best]);
  });

  it("are one where both are the same", () => {
    const only = run(0.8, 12);
    expect(nearest(csps, [only])).toEqual([only]);
  });
});
