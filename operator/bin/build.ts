/** Bundles the programs into `dist/`, each with the Redis verbs that it reads. */
import { chmod, cp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const ROOT = join(import.meta.dirname, "..", "..");
const DIST = join(ROOT, "dist");

const PROGRAMS = [
  { name: "operator", entry: "operator/bin/operator.ts" },
  { name: "gateway", entry: "runtime/gateway/main.ts" },
  { name: "kubectl-csps", entry: "operator/bin/kubectl-csps.ts" },
] as const;

/** Packages in CommonJS ask for `require`, which an ES module lacks. */
const REQUIRE =
  'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

/** Usage: node operator/bin/build.ts [operator] [gateway] [kubectl-csps]; all by default. */
const wanted = process.argv.slice(2);
for (const { name, entry } of PROGRAMS.filter(
  (program) => wanted.length === 0 || wanted.includes(program.name),
)) {
  const folder = join(DIST, name);
  await rm(folder, { recursive: true, force: true });
  const outfile = join(folder, `${name}.js`);
  await build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
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
}
