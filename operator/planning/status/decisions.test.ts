import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { DecisionRecord } from "../../../crds/schema/cspsdeployment.ts";
import { keptDecisions, mergeDecisions, mostDecisions, recordDecision } from "./decisions.ts";

type Ring = readonly DecisionRecord[];

const scaling = "scaling of m";
const moving = "rebalancing of m-decode";

let clock = 0;

function said(choice: string, subject = scaling): DecisionRecord {
  clock += 1;
  return { time: new Date(clock * 1000).toISOString(), subject, choice, refusals: [] };
}

function did(choice: string, subject = scaling): DecisionRecord {
  return { ...said(choice, subject), changed: true };
}

const told = (records: Ring, ofSubject?: number): Ring =>
  records.reduce<Ring>((ring, one) => recordDecision(ring, one, ofSubject), []);
const choices = (ring: Ring): string[] => ring.map(({ choice }) => choice);
const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

describe("the decisions of a status", () => {
  it.each<{ readonly that: string; readonly records: Ring; readonly shows: readonly string[] }>([
    {
      that: "come with the newest first",
      records: [did("a"), said("b", moving), did("c")],
      shows: ["c", "b", "a"],
    },
    {
      that: "leave out what only repeats the newest about its subject",
      records: [said("steady"), said("even", moving), said("steady")],
      shows: ["even", "steady"],
    },
    {
      that: "hold what is found again and again once, as it was found last",
      records: [said("steady"), said("pending"), said("steady"), said("pending"), said("steady")],
      shows: ["steady", "pending"],
    },
    {
      that: "hold once what differs in figures alone",
      records: [said("the best is 2.31 s"), said("steady"), said("the best is 11.5 s"), said("waits")],
      shows: ["waits", "the best is 11.5 s", "steady"],
    },
    {
      that: "hold each change, though its words are those of an earlier one",
      records: [did("1 becomes 2"), did("2 becomes 1"), did("1 becomes 2")],
      shows: ["1 becomes 2", "2 becomes 1", "1 becomes 2"],
    },
  ])("$that", ({ records, shows }) => {
    expect(choices(told(records))).toEqual(shows);
  });

  it("keep a change while loops find nothing to do for hours", () => {
    const idle = times(600, (index) =>
      index % 2 === 0
        ? said(`steady ${"i".repeat(index % 40)}`)
        : said(`even ${"i".repeat(index % 30)}`, moving),
    );
    const shown = choices(told([did("grown"), said("steady"), did("shrunk"), ...idle]));
    expect(shown).toContain("grown");
    expect(shown).toContain("shrunk");
  });

  it("keep the last scaling while a pool moves pages all the time", () => {
    const moves = times(200, (index) => did(`moved ${"p".repeat(index)}`, moving));
    const grown = told([did("grown"), said("steady")]);
    expect(choices(mergeDecisions([told(moves, 3), grown])).toSorted()).toEqual(
      [...choices(moves.slice(-3)), "grown", "steady"].toSorted(),
    );
  });

  it("keep the last scaling when more groups are placed than a status has room for", () => {
    const placed = times(40, (index) => [did("placed", `placement of m-prefill-${index}`)]);
    const grown = [did("grown"), said("steady")];
    expect(choices(mergeDecisions([told(grown), ...placed]))).toEqual(
      expect.arrayContaining(["grown", "steady"]),
    );
  });
});

describe("whatever was decided", () => {
  const word = fc.stringMatching(/^[a-z0-9]{1,2}$/);
  const record = fc.record({
    subject: fc.constantFrom(scaling, moving, "placement of m-decode", "placement of m-prefill-0"),
    choice: word,
    changed: fc.boolean(),
    refusals: fc.constant<string[]>([]),
    time: fc.constant(""),
  });
  const history = fc
    .array(record, { maxLength: 80 })
    .map((all) => all.map((one, index) => ({ ...one, time: new Date(index * 1000).toISOString() })));
  const newestFirst = (records: Ring): Ring => records.toReversed();
  const subjectsOf = (records: Ring): Set<string> => new Set(records.map(({ subject }) => subject));
  const holds = (property: (records: Ring) => void): void => {
    fc.assert(fc.property(history, property), { numRuns: 100 });
  };

  it("so many are kept at most, in order", () => {
    holds((records) => {
      const ring = told(records);
      expect(ring.length).toBeLessThanOrEqual(mostDecisions);
      expect(ring).toEqual(ring.toSorted((a, b) => (a.time < b.time ? 1 : -1)));
    });
  });

  it("the newest about each subject says what was decided last", () => {
    holds((records) => {
      const ring = told(records);
      for (const subject of subjectsOf(records)) {
        const last = records.findLast((one) => one.subject === subject);
        expect(ring.find((one) => one.subject === subject)?.choice).toBe(last?.choice);
      }
    });
  });

  it("no change gives way to what changes nothing, but for the newest about each subject", () => {
    holds((records) => {
      const ring = told(records);
      const shown = ring.filter(({ changed }) => changed);
      const idle = ring.filter(({ changed }) => !changed);
      const changes = newestFirst(records).filter((one, index, all) => {
        const before = all.slice(index + 1).find(({ subject }) => subject === one.subject);
        return one.changed && before?.choice !== one.choice;
      });
      if (shown.length < Math.min(changes.length, mostDecisions))
        expect(idle.length).toBeLessThanOrEqual(subjectsOf(records).size);
      const places = mostDecisions - subjectsOf(records).size;
      for (const one of changes.slice(0, places)) expect(ring).toContainEqual(one);
    });
  });

  it("keeping what was kept takes nothing away, one ring at a time or all together", () => {
    holds((records) => {
      const ring = told(records);
      expect(keptDecisions(ring, mostDecisions)).toEqual(ring);
      const merged = mergeDecisions(
        [...subjectsOf(records)].map((own) => ring.filter((one) => one.subject === own)),
      );
      expect(merged).toEqual(ring);
      expect(mergeDecisions([merged])).toEqual(merged);
    });
  });
});
