import { expect, it } from "vitest";
import { batches, inLanes } from "./lanes.ts";
import { NONE, type Stage } from "./stage.ts";

const stage = (name: string, light = false): Stage => ({
  ...{ name, needs: "nothing", light },
  run: () => Promise.resolve(NONE),
});

it("keeps light neighbours together and every other stage alone, in order", () => {
  const stages = [stage("a", true), stage("b", true), stage("c"), stage("d"), stage("e", true)];
  const names = batches(stages).map((batch) => batch.map(({ name }) => name).join("+"));
  expect(names).toEqual(["a+b", "c", "d", "e"]);
});

it("runs no more than its lanes hold, all of them, and returns results in the order of the items", async () => {
  let running = 0;
  let most = 0;
  const results = await inLanes(2, [5, 1, 3, 2], async (turns) => {
    running += 1;
    most = Math.max(most, running);
    for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
    running -= 1;
    return 10 * turns;
  });
  expect(results).toEqual([50, 10, 30, 20]);
  expect(most).toBe(2);
});

it("throws what an item throws", async () => {
  const work = (item: number): Promise<number> =>
    item === 2 ? Promise.reject(new Error("two")) : Promise.resolve(item);
  await expect(inLanes(2, [1, 2, 3], work)).rejects.toThrow("two");
});
