/** `npm run generate` writes all generated files; `npm run verify` (`--check`) fails when one is not up to date. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { outputs } from "./outputs.ts";

const root = new URL("../../", import.meta.url);

function present(path: string): string | undefined {
  try {
    return readFileSync(new URL(path, root), "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

const stale = [...outputs()].filter(([path, text]) => present(path) !== text);

if (process.argv.includes("--check")) {
  for (const [path] of stale)
    console.error(`${path} differs from what its schema generates; run: npm run generate`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const [path, text] of stale) {
    const target = new URL(path, root);
    mkdirSync(dirname(target.pathname), { recursive: true });
    writeFileSync(target, text);
    console.log(`wrote ${path}`);
  }
}
