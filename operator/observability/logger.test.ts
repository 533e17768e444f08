import fc from "fast-check";
import { Writable } from "node:stream";
import { describe, expect, test } from "vitest";
import { createLogger, type LoggerOptions } from "./logger.ts";
import { redact, redactText } from "./redaction.ts";

function recorded(options: LoggerOptions = {}) {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  return { lines, logger: createLogger({ ...options, stream }) };
}

describe("the logger", () => {
  test("writes one JSON line an entry, with the fields of its context", () => {
    const { lines, logger } = recorded({ fields: { version: "0.1.0" } });
    logger.child({ controller: "spgroup", namespace: "x", name: "demo" }).info("Formed", { epoch: 3 });
    expect(lines).toHaveLength(1);
    const entry = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
    expect(entry).toMatchObject({
      level: "info",
      message: "Formed",
      version: "0.1.0",
      controller: "spgroup",
      namespace: "x",
      name: "demo",
      epoch: 3,
    });
    expect(Date.parse(String(entry["timestamp"]))).not.toBeNaN();
  });

  test("leaves out what lies below its level", () => {
    const { lines, logger } = recorded({ level: "warn" });
    logger.info("quiet");
    logger.error("loud");
    expect(lines).toHaveLength(1);
  });

  test("writes no secret that is in a field, in a nested object, in a message or in an error", () => {
    const { lines, logger } = recorded();
    logger.info("connecting to redis://default:s3cret-one@demo-state:6379", {
      controlToken: "s3cret-two",
      request: { headers: { authorization: "Bearer s3cret-three" }, url: "http://rank" },
      error: new Error("401 for Bearer s3cret-four-and-more"),
    });
    expect(lines.join("")).not.toContain("s3cret");
    expect(lines.join("")).toContain("redis://default:[redacted]@demo-state:6379");
    expect(lines.join("")).toContain("http://rank");
  });
});

describe("redaction", () => {
  test.each([
    "token",
    "controlToken",
    "CSPS_CONTROL_TOKEN",
    "redis-password",
    "apiKey",
    "clientSecret",
    "Authorization",
  ])("hides the field %s", (field) => {
    expect(redact(field, "value")).toBe("[redacted]");
    expect(redact("outer", { [field]: ["value"] })).toEqual({ [field]: "[redacted]" });
  });

  test.each(["tokens", "promptTokens", "maxTokens", "key", "stateStoreSecretName", "tokenCount"])(
    "leaves the field %s",
    (field) => {
      expect(redact(field, "value")).toBe("value");
      expect(redact(field, 7)).toBe(7);
    },
  );

  test("leaves texts without secrets as they are", () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,12}$/);
    const property = fc.property(fc.array(word, { maxLength: 8 }), (words) => {
      const text = words.filter((one) => one !== "bearer" && one !== "basic").join(" ");
      expect(redactText(text)).toBe(text);
    });
    fc.assert(property);
  });

  test("ends on objects that contain themselves", () => {
    const loop: Record<string, unknown> = { name: "loop" };
    loop["self"] = loop;
    expect(JSON.stringify(redact("loop", loop))).toContain("[deep]");
  });
});
