/** The Mooncake format: JSON lines with `timestamp` in ms, `input_length`, `output_length`; other fields are not used. */
import { fromStart, TraceError, type Trace, type TraceRequest } from "./request.ts";

export function parseMooncake(name: string, text: string): Trace {
  const requests: TraceRequest[] = [];
  text.split("\n").forEach((content, index) => {
    if (content.trim() === "") return;
    const line = index + 1;
    const record = parseLine(name, line, content);
    const numberOf = (field: string, least: number, whole: "whole " | "" = "whole "): number => {
      const value = record[field];
      const fits = whole === "" ? Number.isFinite : Number.isSafeInteger;
      if (typeof value === "number" && fits(value) && value >= least) return value;
      const rule = `is not a ${whole}number of at least ${least}`;
      const wrong = value === undefined ? "is missing" : `${JSON.stringify(value)} ${rule}`;
      throw new TraceError(name, line, field, wrong);
    };
    requests.push({
      arrivalSeconds: numberOf("timestamp", 0, "") / 1e3,
      inputTokens: numberOf("input_length", 1),
      outputTokens: Math.max(1, numberOf("output_length", 0)),
    });
  });
  return { name, synthetic: false, requests: fromStart(requests) };
}

function parseLine(name: string, line: number, content: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    throw new TraceError(name, line, "(whole line)", "is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TraceError(name, line, "(whole line)", "is not a JSON object");
  }
  return value as Readonly<Record<string, unknown>>;
}
