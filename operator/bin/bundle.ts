/** One program as it is shipped: a single file, and beside it the Redis verbs that it reads. */
import { chmod, cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const ROOT = join(import.meta.dirname, "..", "..");

export const PROGRAMS = {
  operator: "operator/bin/operator.ts",
  gateway: "runtime/gateway/main.ts",
  "kubectl-csps": "operator/bin/kubectl-csps.ts",
} as const;

export type ProgramName = keyof typeof PROGRAMS;

/** Packages in CommonJS ask for `require`, which an ES module lacks. */
const REQUIRE =
  'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

/** Writes the program into `folder` and returns the path of its file. */
export async function bundle(name: ProgramName, folder: string): Promise<string> {
  const outfile = join(folder, `${name}.js`);
  await build({
    absWorkingDir: ROOT,
    entryPoints: [PROGRAMS[name]],
    outfile,
    bundle: true,
    platform: "node",
    target: "node22",
    format: "esm",
    banner: { js: REQUIRE },
    legalComments: "linked",
    logLevel: "warning",
  });
  await chmod(outfile, 0o755);
  // Says so where no package of ours is around the file.
  await writeFile(join(folder, "package.json"), '{ "type": "module" }\n');
  // The bundled code looks for the verbs beside itself, as `runtime/state` does in the sources.
  await cp(join(ROOT, "runtime", "state", "verbs"), join(folder, "verbs"), { recursive: true });
  return outfile;
}
