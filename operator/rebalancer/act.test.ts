import { expect, it } from "vitest";
import type { StateAnswer } from "../../runtime/state/clusterState.ts";
import type { MoveIntent } from "../planning/rebalance/move.ts";
import { aPool } from "../planning/rebalance/testing/pools.ts";
import { followMoves, type Turn } from "./act.ts";
import { PoolMemories } from "./memory.ts";

const move = {
  ...{ moveId: "r1@1", requestId: "r1", mapVersion: 1, firstPage: 0, pages: 4, takesHome: false },
  ...{ from: "a", fromIncarnation: "uid-a", to: "b", toIncarnation: "uid-b", bytes: 4, bytesPerSecond: 1 },
};
const gone: StateAnswer<never> = { ok: false, problem: "timeout", message: "no answer" };

/** Looks at a pool whose request has ended, with these records; returns how moves were told to have ended. */
function looks(answers: StateAnswer<boolean | "stale">[]) {
  const told: string[] = [];
  const meters = { moved: (_: unknown, outcome: string) => told.push(outcome) };
  const context = { meters, fence: () => 1, nowMs: () => 0, memories: new PoolMemories() };
  const endMove = () => Promise.resolve(answers.shift() ?? { ok: true, value: true });
  const look = (intents: readonly MoveIntent[]) => {
    const turn = {
      ...{ context, policy: {}, signal: new AbortController().signal },
      pool: { metadata: { namespace: "ns", name: "m-decode", uid: "uid" }, spec: { rebalance: {} } },
      view: { inventory: { moves: [] }, client: {} },
      ledger: { state: { endMove }, intents },
    };
    return followMoves(turn as unknown as Turn, aPool([], []));
  };
  return { told, look };
}

const intent: MoveIntent = { move, ageMs: 0 };

it("tells once of a move that is over, also when the store's answer to that was lost", async () => {
  const { told, look } = looks([gone]);
  expect(await look([intent])).toMatchObject({ reason: "StateStoreAway" });
  expect(told).toEqual([]);
  expect(await look([])).toEqual([]);
  expect(await look([])).toEqual([]);
  expect(told).toEqual(["released"]);
});

it("tells of it when the store takes it at last", async () => {
  const { told, look } = looks([gone]);
  await look([intent]);
  expect(await look([intent])).toEqual([]);
  expect(await look([])).toEqual([]);
  expect(told).toEqual(["released"]);
});

it("leaves it to a newer leader, and says that it is shut out", async () => {
  const { told, look } = looks([{ ok: true, value: "stale" }]);
  expect(await look([intent])).toMatchObject({ reason: "Fenced" });
  expect(told).toEqual([]);
});
