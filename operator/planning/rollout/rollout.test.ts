import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planRollout, type RolloutGang } from "./rollout.ts";

function aGang(name: string, over: Partial<RolloutGang> = {}): RolloutGang {
  return { name, revision: "old", desiredRevision: "new", available: true, ...over };
}

describe("planRollout", () => {
  it("brings one serving gang at a time to a new revision", () => {
    expect(planRollout([aGang("a"), aGang("b"), aGang("c")])).toEqual({ write: ["a"], held: ["b", "c"] });
    const underWay = [aGang("a", { revision: "new", available: false }), aGang("b"), aGang("c")];
    expect(planRollout(underWay)).toEqual({ write: ["a"], held: ["b", "c"] });
    const next = [aGang("a", { revision: "new" }), aGang("b"), aGang("c")];
    expect(planRollout(next)).toEqual({ write: ["a", "b"], held: ["c"] });
  });

  it("writes new gangs, broken gangs and changes of size at once", () => {
    const gangs = [
      aGang("new", { revision: undefined, available: false }),
      aGang("broken", { available: false }),
      aGang("resized", { revision: "new" }),
      aGang("serving"),
    ];
    expect(planRollout(gangs)).toEqual({ write: ["new", "broken", "resized"], held: ["serving"] });
  });

  it("never disturbs two serving gangs at once, and ends", () => {
    const gangs = fc.array(fc.boolean(), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(gangs, (availability) => {
        let state = availability.map((available, index) => aGang(`g${String(index)}`, { available }));
        for (let step = 0; step < 20; step++) {
          const { write } = planRollout(state);
          const disturbed = state.filter(
            (gang) => gang.available && gang.revision === "old" && write.includes(gang.name),
          );
          expect(disturbed.length).toBeLessThanOrEqual(1);
          state = state.map((gang) =>
            write.includes(gang.name) ? { ...gang, revision: "new", available: true } : gang,
          );
        }
        expect(state.every((gang) => gang.revision === "new")).toBe(true);
      }),
    );
  });
});
