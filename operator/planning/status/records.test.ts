import { describe, expect, it } from "vitest";
import { keepRecord, type KeptRecord, parseRecords, renderRecords, sameAsJson } from "./records.ts";

function aRecord(name: string, record: unknown = { inputs: [1] }): KeptRecord {
  return { time: "2026-01-01T00:00:00.000Z", subject: "rebalancing of p", choice: name, record };
}

const choices = (kept: readonly KeptRecord[]): string[] => kept.map((one) => one.choice);

describe("records of decisions", () => {
  it("come back from their text as they were, newest first", () => {
    const kept = keepRecord(keepRecord([], aRecord("old")), aRecord("new", { text: "two\nlines" }));
    expect(choices(kept)).toEqual(["new", "old"]);
    expect(parseRecords(renderRecords(kept))).toEqual(kept);
    expect(parseRecords("")).toEqual([]);
  });

  it("are as many as the limits allow, and no longer together", () => {
    const few = ["1", "2", "3", "4"].reduce<readonly KeptRecord[]>(
      (kept, name) => keepRecord(kept, aRecord(name), { records: 3, characters: 10_000 }),
      [],
    );
    expect(choices(few)).toEqual(["4", "3", "2"]);
    const exact = renderRecords(few.slice(0, 2)).length;
    const short = keepRecord(few.slice(1), aRecord("4"), { records: 3, characters: exact });
    expect(renderRecords(short).length).toBe(exact);
  });

  it("keep the sentence of a record that is too long for them", () => {
    const long = aRecord("long", "x".repeat(500));
    const kept = keepRecord([aRecord("short")], long, { records: 3, characters: 300 });
    expect(kept[0]).toEqual({ time: long.time, subject: long.subject, choice: "long" });
    expect(renderRecords(kept).length).toBeLessThanOrEqual(300);
  });

  it("leave out what is no record, and keep what a later version added", () => {
    const line = JSON.stringify({ ...aRecord("a"), later: true });
    expect(parseRecords(`not json\n{"time":1}\nnull\n${line}`)).toEqual([{ ...aRecord("a"), later: true }]);
  });

  it("are compared whatever the order of keys and whether an absent field was named", () => {
    expect(sameAsJson({ a: 1, b: [{ c: 2, d: undefined }] }, { b: [{ c: 2 }], a: 1 })).toBe(true);
    expect(sameAsJson({ a: [1, 2] }, { a: [2, 1] })).toBe(false);
  });
});
