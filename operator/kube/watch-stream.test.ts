import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LineSplitter, MalformedWatchLine } from "./watch-stream.ts";

describe("a line splitter", () => {
  test("gives the same lines however the bytes are cut", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "ü", "語", "🌊", " ", '"'), maxLength: 20 });
    const property = fc.property(fc.array(text), fc.array(fc.nat({ max: 9 })), (lines, sizes) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const splitter = new LineSplitter();
      const got: string[] = [];
      let at = 0;
      for (const size of [...sizes, bytes.length]) {
        got.push(...splitter.push(bytes.subarray(at, at + size)));
        at += size;
      }
      expect(got).toEqual(lines.filter((line) => line.trim() !== ""));
    });
    fc.assert(property, { numRuns: 500 });
  });

  test("refuses to gather a line without end", () => {
    const splitter = new LineSplitter();
    const chunk = Buffer.alloc(1024 * 1024, "x");
    expect(() => {
      for (let megabyte = 0; megabyte < 20; megabyte += 1) splitter.push(chunk);
    }).toThrow(MalformedWatchLine);
  });
});
