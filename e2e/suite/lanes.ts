/** Which stages run at the same time, and running them so. */
import type { Stage } from "./stage.ts";

/** Light stages that follow each other belong together; every other stage is alone. */
export function batches(stages: readonly Stage[]): Stage[][] {
  const found: Stage[][] = [];
  for (const stage of stages) {
    const last = found.at(-1);
    if (stage.light === true && last?.[0]?.light === true) last.push(stage);
    else found.push([stage]);
  }
  return found;
}

/** What `work` makes of each item, in the items' order, with at most `lanes` under way at a time. */
export async function inLanes<Item, Result>(
  lanes: number,
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const waiting = [...items.entries()];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
      results[next[0]] = await work(next[1]);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}
