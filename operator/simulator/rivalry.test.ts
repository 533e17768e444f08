import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { against, playedAround, type Played } from "./rivalry.ts";

const one: Played = { attainment: 0.9, gpuHours: 10 };
const run = (attainment: number, gpuHours: number): Played => ({ attainment, gpuHours });

describe("an autoscaler against a rival with a knob", () => {
  it.each<[string, readonly Played[], boolean]>([
    ["attains less for less, and more for more", [run(0.8, 9), run(0.95, 12)], true],
    ["attains less for more", [run(0.8, 12)], true],
    ["attains more for less", [run(0.95, 9)], false],
    ["attains more for as much", [run(0.95, 10)], false],
    ["attains as much for less", [run(0.9, 9)], false],
    ["is the very same", [run(0.9, 10)], false],
    ["has no setting", [], true],
  ])("judges one that %s", (_, rival, worseOnBoth) => {
    expect(against(one, rival).worseOnBoth).toBe(worseOnBoth);
  });

  it("names the best that uses no more and the thriftiest that attains as much", () => {
    const rival = [run(0.7, 8), run(0.85, 10), run(0.92, 14), run(0.99, 20)];
    expect(against(one, rival)).toMatchObject({ atItsHours: run(0.85, 10), atItsGoodput: run(0.92, 14) });
  });

  it("is worse on both just when no setting has both the goodput and the GPU-hours", () => {
    const played = fc.record({
      attainment: fc.integer({ min: 0, max: 5 }),
      gpuHours: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(played, fc.array(played), (us, rival) => {
        const unbeaten = rival.some(
          ({ attainment, gpuHours }) => attainment >= us.attainment && gpuHours <= us.gpuHours,
        );
        expect(against(us, rival).worseOnBoth).toBe(!unbeaten);
      }),
    );
  });

  it("looks closer where a rival's hours or goodput pass its own, and nowhere else", () => {
    const tried: number[] = [];
    const play = (setting: number) => {
      tried.push(setting);
      return run(1 - setting / 10, 24 - 4 * setting);
    };
    const runs = playedAround(one, [0, 2, 4, 6], play, 1);
    // Goodput passes 0.9 between 0 and 2, hours pass 10 between 2 and 4.
    expect(tried).toEqual([0, 2, 4, 6, 1, 3]);
    expect(runs).toHaveLength(6);
  });
});
