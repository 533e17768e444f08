/** Where measured tables and traces lie: `CSPS_DATA`, else a folder beside the checkout. They are never committed. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

/** The folder, or undefined when this machine has none. */
export function dataFolder(environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const beside = join(import.meta.dirname, "../../../shared/data");
  const folder = environment["CSPS_DATA"] ?? beside;
  return existsSync(folder) ? folder : undefined;
}

export const dataAbsent = "no data folder: set CSPS_DATA to the folder with traces/ and hardware/";

/** Text of a file; files that end in .gz are unpacked. */
export function readText(path: string): string {
  const bytes = readFileSync(path);
  return (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
}
