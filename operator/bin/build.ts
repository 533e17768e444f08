/** Bundles the programs into `dist/`. Usage: node operator/bin/build.ts [operator] [gateway] [kubectl-csps]; all by default. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { bundle, type ProgramName, PROGRAMS } from "./bundle.ts";

const DIST = join(import.meta.dirname, "..", "..", "dist");

const wanted = process.argv.slice(2);
for (const name of Object.keys(PROGRAMS) as ProgramName[]) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const folder = join(DIST, name);
  await rm(folder, { recursive: true, force: true });
  await bundle(name, folder);
}
