/** The Azure format: CSV with the columns `TIMESTAMP, ContextTokens, GeneratedTokens`. */
import { fromStart, TraceError, type Trace, type TraceRequest } from "./request.ts";

const columns = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"] as const;

export function parseAzure(name: string, text: string): Trace {
  const [header = "", ...lines] = text.split("\n").map((line) => line.trim());
  const present = header.split(",");
  const at = columns.map((column) => {
    const index = present.indexOf(column);
    if (index === -1) throw new TraceError(name, 1, column, "the header has no such column");
    return index;
  });
  const requests: TraceRequest[] = [];
  lines.forEach((content, index) => {
    if (content === "") return;
    const line = index + 2;
    const cells = content.split(",");
    const [time = "", context = "", generated = ""] = at.map((column) => cells[column] ?? "");
    requests.push({
      arrivalSeconds: secondsOf(name, line, time),
      inputTokens: countOf(name, line, columns[1], context, 1),
      outputTokens: Math.max(1, countOf(name, line, columns[2], generated, 0)),
    });
  });
  return { name, synthetic: false, requests: fromStart(requests) };
}

/** The traces write no zone and seven digits of a second; only differences matter. */
function secondsOf(name: string, line: number, text: string): number {
  const match = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?/.exec(text);
  const whole = match === null ? Number.NaN : Date.parse(`${match[1] ?? ""}T${match[2] ?? ""}Z`);
  if (Number.isNaN(whole)) throw new TraceError(name, line, columns[0], `"${text}" is not a time`);
  return whole / 1e3 + Number(match?.[3] ?? 0);
}

function countOf(name: string, line: number, field: string, text: string, least: number): number {
  const value = text === "" ? Number.NaN : Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw new TraceError(name, line, field, `"${text}" is not a whole number of at least ${least}`);
}
