/** A trace file by its name: `.jsonl` is Mooncake's format, `.csv` Azure's, either may be packed as .gz. */
import { basename } from "node:path";
import { readText } from "../dataFolder.ts";
import { parseAzure } from "./azure.ts";
import { parseMooncake } from "./mooncake.ts";
import type { Trace } from "./request.ts";

export function loadTrace(path: string): Trace {
  const name = basename(path);
  const plain = name.replace(/\.gz$/, "");
  if (plain.endsWith(".jsonl")) return parseMooncake(name, readText(path));
  if (plain.endsWith(".csv")) return parseAzure(name, readText(path));
  throw new Error(`${name}: a trace ends in .jsonl, .csv, .jsonl.gz or .csv.gz`);
}

/** The trace played faster: arrivals come `factor` times as often. */
export function sped(trace: Trace, factor: number): Trace {
  const requests = trace.requests.map((one) => ({ ...one, arrivalSeconds: one.arrivalSeconds / factor }));
  return { ...trace, requests };
}
