import { expect, it } from "vitest";
import { inLanes, lanes } from "./lanes.ts";
import { NONE, type Stage } from "./stage.ts";

const stage = (name: string, beside = false): Stage => ({
  ...{ name, needs: "nothing", beside },
  run: () => Promise.resolve(NONE),
});

it("keeps every stage, in order, in the lane that it belongs to", () => {
  const stages = [stage("a", true), stage("b"), stage("c", true), stage("d"), stage("e", true)];
  const names = lanes(stages).map((lane) => lane.map(({ name }) => name).join("+"));
  expect(names).toEqual(["b+d", "a+c+e"]);
});

it("runs one item of each lane at a time, all of them, and returns the results of the lanes in order", async () => {
  const running = new Map<number, number>();
  let most = 0;
  const results = await inLanes(
    [
      [
        { lane: 0, turns: 5 },
        { lane: 0, turns: 1 },
      ],
      [
        { lane: 1, turns: 3 },
        { lane: 1, turns: 2 },
      ],
    ],
    async ({ lane, turns }) => {
      expect(running.get(lane) ?? 0).toBe(0);
      running.set(lane, 1);
      most = Math.max(most, (running.get(0) ?? 0) + (running.get(1) ?? 0));
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      running.set(lane, 0);
      return 10 * turns;
    },
  );
  expect(results).toEqual([50, 10, 30, 20]);
  expect(most).toBe(2);
});

it("throws what an item throws", async () => {
  const work = (item: number): Promise<number> =>
    item === 2 ? Promise.reject(new Error("two")) : Promise.resolve(item);
  await expect(inLanes([[1], [2, 3]], work)).rejects.toThrow("two");
});
