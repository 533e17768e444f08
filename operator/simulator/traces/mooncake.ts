/** The Mooncake format: JSON lines with `timestamp` in ms, `input_length`, `output_length`; other fields are not used. */
import { fromStart, TraceError, type Trace, type TraceRequest } from "./request.ts";

export function parseMooncake(name: string, text: string): Trace {
  const requests: TraceRequest[] = [];
  text.split("\n").forEach((content, index) => {
    if (content.trim() === "") return;
    const line = index + 1;
    const record = parseLine(name, line, content);
    const count = (field: string, least: number): number => {
      const value = record[field];
      if (typeof value !== "number" || !(value >= least) || !Number.isFinite(value)) {
        const shown =
          value === undefined
            ? "is missing"
            : `${JSON.stringify(value)} is not a number of at least ${least}`;
        throw new TraceError(name, line, field, shown);
      }
      return value;
    };
    requests.push({
      arrivalSeconds: count("timestamp", 0) / 1e3,
      inputTokens: count("input_length", 1),
      outputTokens: Math.max(1, count("output_length", 0)),
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
