/**
 * npm test: everything. Installs what it needs (Python environment, Kubernetes binaries, container engine,
 * images; cached outside the checkout), runs every stage and closes with one line `N passed, N failed`.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { stages } from "./suite/stages.ts";
import { inLanes, lanes } from "./suite/lanes.ts";
import { add, type Count, NONE, type Stage } from "./suite/stage.ts";

const HELP = `usage: npm test -- [--only STAGE[,STAGE...]] [--list]

Runs every stage of the test suite and closes with "N passed, N failed".

  --only   run only these stages (see --list)
  --list   print the stages and what each needs, and run nothing
  --help   print this text

Environment: CSPS_CACHE names the folder for everything that is kept between runs
(default ~/.cache/csps).`;

const options = parseArgs({
  options: { only: { type: "string" }, list: { type: "boolean" }, help: { type: "boolean", short: "h" } },
}).values;

function seconds(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(0)} s`;
}

/** Runs a stage and prints how it ended; what it throws is one failure. */
async function report(stage: Stage): Promise<Count> {
  const began = Date.now();
  let count: Count;
  try {
    count = await stage.run();
  } catch (error) {
    console.error(
      `${stage.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    count = { ...NONE, failed: 1 };
  }
  const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : "";
  const good = `${count.passed} of ${count.passed + count.failed} good`;
  console.log(`== ${stage.name}: ${good}${skipped}, ${seconds(began)}`);
  return count;
}

async function main(): Promise<number> {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const all = stages(root, mkdtempSync(join(tmpdir(), "csps-test-")));
  if (options.help === true) {
    console.log(HELP);
    return 0;
  }
  if (options.list === true) {
    for (const stage of all) console.log(`${stage.name.padEnd(16)} needs ${stage.needs}`);
    return 0;
  }
  const wanted = options.only?.split(",");
  const unknown = wanted?.filter((name) => all.every((stage) => stage.name !== name)) ?? [];
  if (unknown.length > 0) {
    console.error(
      `--only: no stage is called ${unknown.join(", ")}; there are ${all.map((s) => s.name).join(", ")}`,
    );
    return 2;
  }
  const chosen = all.filter((stage) => wanted?.includes(stage.name) ?? true);
  const began = Date.now();
  const run = async (stage: Stage): Promise<Count> => {
    const place = `${chosen.indexOf(stage) + 1}/${chosen.length}`;
    console.log(`\n== ${place} ${stage.name} (needs ${stage.needs}; ${seconds(began)} so far)`);
    return await report(stage);
  };
  const total = (await inLanes(lanes(chosen), run)).reduce(add, NONE);
  console.log(`\nthe whole run took ${seconds(began)}`);
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
  console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

process.exit(await main());
