/** Which stages run at the same time: a main lane that has the cores, and beside it a lane that takes what is left. */
import type { Stage } from "./stage.ts";

/** The stages of the main lane and those that run beside it, each in order. A lane runs one stage at a time. */
export function lanes(stages: readonly Stage[]): Stage[][] {
  return [stages.filter((stage) => stage.beside !== true), stages.filter((stage) => stage.beside === true)];
}

/** What `work` makes of each item of each lane, one after the other in a lane, all lanes at once. */
export async function inLanes<Item, Result>(
  filled: readonly (readonly Item[])[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const lane = async (items: readonly Item[]): Promise<Result[]> => {
    const results: Result[] = [];
    for (const item of items) results.push(await work(item));
    return results;
  };
  return (await Promise.all(filled.map(lane))).flat();
}
