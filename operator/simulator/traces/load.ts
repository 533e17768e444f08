/** A trace file by its name: `.jsonl` is Mooncake's format, `.csv` Azure's, either may be packed as .gz. */
import { basename } from "node:path";
import { readText } from "../dataFolder.ts";
import { parseAzure } from "./azure.ts";
import { parseMooncake } from "./mooncake.ts";
import type { Trace } from "./request.ts";

/** Throws an error that names the file, and the line and the field where one is wrong. */
export function loadTrace(path: string): Trace {
  const name = basename(path);
  const trace = readerOf(name)(name, unpacked(name, path));
  if (trace.requests.length === 0) throw new Error(`${name} holds no request`);
  return trace;
}

function readerOf(name: string): (name: string, text: string) => Trace {
  const plain = name.replace(/\.gz$/, "");
  if (plain.endsWith(".jsonl")) return parseMooncake;
  if (plain.endsWith(".csv")) return parseAzure;
  throw new Error(`${name}: a trace ends in .jsonl, .csv, .jsonl.gz or .csv.gz`);
}

function unpacked(name: string, path: string): string {
  try {
    return readText(path);
  } catch (error) {
    throw new Error(`${name} can't be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The trace played faster: arrivals come `factor` times as often. */
export function sped(trace: Trace, factor: number): Trace {
  const requests = trace.requests.map((one) => ({ ...one, arrivalSeconds: one.arrivalSeconds / factor }));
  return { ...trace, requests };
}
