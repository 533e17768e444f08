import { describe, expect, it } from "vitest";
import type { RankState } from "../../wire/schema/membership.ts";
import type { ServingGroup } from "./groups.ts";
import { degreeWanted } from "./degrees.ts";
import { freshMs, servingGroups } from "./groups.ts";
import { rankRoutes, scoreOf } from "../../routing/route.ts";
import type { Routable, RouteQuestion } from "../../routing/route.ts";

function aGroup(over: Partial<ServingGroup> & { group: string }): ServingGroup {
  return {
    role: "prefill",
    coordinator: { rankId: `${over.group}-0`, incarnation: "u", address: "10.0.0.1", controlPort: 9000 },
    epoch: 1,
    members: [`${over.group}-0`],
    kvFormat: "f",
    pageTokens: 16,
    pagesTotal: 100,
    pagesFree: 100,
    running: 0,
    waiting: 0,
    promptTokens: 0,
    servingSinceMs: 0,
    ...over,
  };
}

const idle = { requests: 0, promptTokens: 0 };
const question: RouteQuestion = { promptTokens: 160, wantedDegree: 1, nowMs: 60_000, inFlight: () => idle };

function best(groups: readonly ServingGroup[], over: Partial<RouteQuestion> = {}): string {
  const route = rankRoutes(groups, { ...question, ...over })[0];
  return route === undefined ? "none" : `${route.group.group} → ${route.pool.group}`;
}

const pool = aGroup({ group: "d", role: "decode" });

describe("the choice of a route", () => {
  it("takes a prompt to a group of the degree that its length class wants, and others anywhere", () => {
    const whole = aGroup({ group: "q", members: ["q-0", "q-1", "q-2", "q-3"] });
    const groups = [aGroup({ group: "p" }), whole, pool];
    const table = [
      { name: "short", upToTokens: 100, degree: 1 },
      { name: "long", upToTokens: 1_000, degree: 4 },
    ];
    expect(best(groups, { wantedDegree: degreeWanted(table, 160) ?? 1 })).toBe("q → d");
    expect(best(groups, { wantedDegree: degreeWanted(table, 5_000) ?? 1 })).toBe("q → d");
    expect(best(groups, { wantedDegree: degreeWanted(table, 100) ?? 1 })).toBe("p → d");
    expect(best(groups, { wantedDegree: degreeWanted([], 160) ?? 1 })).toBe("p → d");
  });

  it.each([
    { what: "no pool", groups: [aGroup({ group: "p" })], route: "none" },
    { what: "no prefill group", groups: [pool], route: "none" },
    { what: "another KV format", groups: [aGroup({ group: "p", kvFormat: "g" }), pool], route: "none" },
    { what: "one of each", groups: [aGroup({ group: "p" }), pool], route: "p → d" },
    {
      what: "a group with a queue beside an idle one",
      groups: [aGroup({ group: "p", waiting: 3 }), aGroup({ group: "q" }), pool],
      route: "q → d",
    },
    {
      what: "one long prompt beside three short ones",
      groups: [
        aGroup({ group: "p", running: 1, promptTokens: 100_000 }),
        aGroup({ group: "q", running: 1, waiting: 2, promptTokens: 3_000 }),
        pool,
      ],
      route: "q → d",
    },
    {
      what: "as many tokens on twice the ranks",
      groups: [
        aGroup({ group: "p", running: 1, promptTokens: 100_000 }),
        aGroup({ group: "q", running: 1, promptTokens: 100_000, members: ["q-0", "q-1"] }),
        pool,
      ],
      route: "q → d",
    },
    {
      what: "a pool that is nearly full beside an empty one",
      groups: [aGroup({ group: "p" }), aGroup({ group: "c", role: "decode", pagesFree: 12 }), pool],
      route: "p → d",
    },
    {
      what: "a full pool alone",
      groups: [aGroup({ group: "p" }), aGroup({ group: "c", role: "decode", pagesFree: 0 })],
      route: "p → c",
    },
    {
      what: "a group that has just formed beside a settled one",
      groups: [aGroup({ group: "p", servingSinceMs: 59_000 }), aGroup({ group: "q" }), pool],
      route: "q → d",
    },
  ])("with $what is $route", ({ groups, route }) => {
    expect(best(groups)).toBe(route);
  });

  it("counts what the gateway has under way and the last state does not show", () => {
    const groups = [aGroup({ group: "p" }), aGroup({ group: "q" }), pool];
    const two = { requests: 2, promptTokens: 320 };
    expect(best(groups, { inFlight: (group) => (group === "p" ? two : idle) })).toBe("q → d");
  });

  it("takes a prompt to the pool that holds its beginning, unless that one has no room", () => {
    const heldShare = ({ group }: Routable): number => (group === "e" ? 0.8 : 0);
    const groups = [aGroup({ group: "p" }), pool];
    const roomy = aGroup({ group: "e", role: "decode", pagesFree: 60 });
    expect(best([...groups, roomy], { heldShare })).toBe("p → e");
    expect(best([...groups, roomy])).toBe("p → d");
    const full = aGroup({ group: "e", role: "decode", pagesFree: 0, running: 40 });
    expect(best([...groups, full], { heldShare })).toBe("p → d");
  });

  it("scores between 0 and 1", () => {
    const worst = aGroup({ group: "p", waiting: 1e9, promptTokens: 1e12, servingSinceMs: 60_000 });
    const full = aGroup({ group: "d", role: "decode", pagesFree: 0, pagesTotal: 0, waiting: 1e9 });
    expect(scoreOf({ group: worst, pool: full }, question)).toBeGreaterThanOrEqual(0);
    expect(
      scoreOf({ group: aGroup({ group: "p" }), pool }, { ...question, promptTokens: 0 }),
    ).toBeLessThanOrEqual(1);
  });
});

function aState(over: Partial<RankState> = {}): RankState {
  const rank = {
    rankId: "p-0",
    incarnation: "u",
    address: "10.0.0.1",
    controlPort: 9000,
    transferPort: 9001,
  };
  return {
    rank,
    role: "prefill",
    deployment: "d",
    group: "p",
    phase: "serving",
    reason: "",
    fence: 1,
    generation: 1,
    epoch: 2,
    epochMembers: ["p-0", "p-1"],
    coordinator: rank,
    model: "m",
    kvFormat: "f",
    contextLength: 512,
    pageTokens: 16,
    pagesTotal: 1,
    pagesFree: 1,
    poolPagesTotal: 2,
    poolPagesFree: 2,
    running: 0,
    waiting: 0,
    lastBreak: "",
    ...over,
  };
}

describe("the groups that serve", () => {
  const seen = (state: RankState, age = 0, suspect = false) => ({ state, seenMs: 100_000 - age, suspect });
  const groupsOf = (...sightings: ReturnType<typeof seen>[]) => servingGroups(sightings, 100_000, () => 0);

  it("are those whose coordinator was seen serving lately", () => {
    expect(groupsOf(seen(aState()))).toMatchObject([{ group: "p", epoch: 2, pagesTotal: 2 }]);
    expect(groupsOf(seen(aState({ phase: "forming" })))).toEqual([]);
    expect(groupsOf(seen(aState({ phase: "draining" })))).toEqual([]);
    expect(groupsOf(seen(aState(), freshMs + 1))).toEqual([]);
    expect(groupsOf(seen(aState(), 0, true))).toEqual([]);
    const follower = { ...aState().rank, rankId: "p-1" };
    expect(groupsOf(seen(aState({ rank: follower })))).toEqual([]);
  });

  it("have the tokens of all prompts that wait or are computed there", () => {
    const load = { steps: 0, stepP50Ms: 0, stepP99Ms: 0, oldestWaitMs: 0, prefills: [], decodes: [] };
    const told = { ...load, waitingPromptTokens: 300, runningPromptTokens: 50 };
    expect(groupsOf(seen(aState({ load: told })))[0]?.promptTokens).toBe(350);
    const older = { ...load, waitingPromptTokens: 300 };
    expect(groupsOf(seen(aState({ load: older })))[0]?.promptTokens).toBe(300);
    expect(groupsOf(seen(aState()))[0]?.promptTokens).toBe(0);
  });

  it("are of the newest epoch when two ranks claim to coordinate", () => {
    const other = { ...aState().rank, rankId: "p-1" };
    const claims = [seen(aState({ rank: other, coordinator: other, epoch: 3 })), seen(aState())];
    expect(groupsOf(...claims)[0]?.coordinator.rankId).toBe("p-1");
    expect(groupsOf(...claims.reverse())[0]?.coordinator.rankId).toBe("p-1");
  });
});
