import { describe, expect, it } from "vitest";
import type { Routable, Route } from "../../routing/route.ts";
import { createOccupations } from "./occupations.ts";

function named(group: string, role: Routable["role"]): Routable {
  const counts = { pagesTotal: 1, pagesFree: 1, running: 0, waiting: 0, promptTokens: 0, servingSinceMs: 0 };
  return { group, role, members: [`${group}-0`], kvFormat: "f", pageTokens: 64, ...counts };
}

const route: Route = { pool: named("d", "decode"), group: named("p", "prefill") };
const idle = { requests: 0, promptTokens: 0 };

describe("what a gateway has under way", () => {
  it("counts a prompt in its prefill group until its first token, and in the pool until its end", () => {
    const { inFlight, occupy } = createOccupations();
    const [long, short] = [occupy(route, 9_000), occupy(route, 10)];
    expect(inFlight("p")).toEqual({ requests: 2, promptTokens: 9_010 });
    expect(inFlight("d")).toEqual({ requests: 2, promptTokens: 0 });
    long.prefilled();
    expect(inFlight("p")).toEqual({ requests: 1, promptTokens: 10 });
    expect(inFlight("d").requests).toBe(2);
    long.ended();
    short.ended();
    expect([inFlight("p"), inFlight("d")]).toEqual([idle, idle]);
  });

  it("takes back what it counted once, however often it is told", () => {
    const { inFlight, occupy } = createOccupations();
    const one = occupy(route, 5);
    occupy(route, 7);
    for (let times = 0; times < 3; times++) one.prefilled();
    one.ended();
    one.ended();
    expect(inFlight("p")).toEqual({ requests: 1, promptTokens: 7 });
    expect(inFlight("d").requests).toBe(1);
  });
});
