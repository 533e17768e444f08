import { describe, expect, it } from "vitest";
import { z } from "zod";
import { structural } from "./structural.ts";

const text = z.string().describe("a text");

describe("structural", () => {
  it("fills a default of an object up with those of its fields", () => {
    const inner = z.object({ degree: z.int().default(1).describe("d"), mode: text.default("auto") });
    const schema = structural(z.object({ inner: inner.prefault({ mode: "x" }).describe("i") }), "spec");
    expect(schema.properties?.["inner"]?.default).toEqual({ degree: 1, mode: "x" });
  });

  it("keeps a quantity's pattern beside int-or-string", () => {
    const quantity = z
      .union([z.string().regex(/^[0-9]+$/), z.int()])
      .meta({ "x-kubernetes-int-or-string": true })
      .describe("q");
    expect(structural(z.object({ quantity }), "spec").properties?.["quantity"]).toEqual({
      anyOf: [{ type: "integer" }, { type: "string" }],
      "x-kubernetes-int-or-string": true,
      pattern: "^[0-9]+$",
      description: "q",
    });
  });

  it("leaves out the bounds that zod gives to every integer", () => {
    expect(structural(z.object({ n: z.int().describe("n") }), "spec").properties?.["n"]).toEqual({
      type: "integer",
      format: "int64",
      description: "n",
    });
  });

  it.each([
    ["a union", z.object({ a: z.union([z.string(), z.boolean()]).describe("a") }), "spec.a: only one type"],
    ["a null", z.object({ a: z.string().nullable().describe("a") }), "spec.a: nullable"],
    [
      "a strict object",
      z.object({ a: z.strictObject({ b: text }).describe("a") }),
      "spec.a: a strict object",
    ],
    [
      "an id",
      z.object({ a: z.string().meta({ id: "a", description: "a" }) }),
      "spec: definitions is not structural",
    ],
    [
      "an untyped object",
      z.object({ a: z.record(z.string(), z.unknown()).describe("a") }),
      "spec.a: an object needs",
    ],
    ["a format that nobody checks", z.object({ a: z.uuid().describe("a") }), "spec.a: format uuid"],
    ["a field without a description", z.object({ a: z.string() }), "spec.a: needs a description"],
    [
      "a default that an absent parent hides",
      z.object({
        a: z
          .object({ b: text.default("x") })
          .optional()
          .describe("a"),
      }),
      "spec.a: needs a default, else that of b never materialises",
    ],
  ])("refuses %s", (_what, schema, sentence) => {
    expect(() => structural(schema, "spec")).toThrow(sentence);
  });
});
