/**
 * The simulator beside recorded runs (heldOut.ts), which `npm run bench:simulator` also judges:
 *
 *     node operator/simulator/calibrate/recordings.ts
 */
import { givenTo } from "../commandLine.ts";
import { dataAbsent, dataFolder } from "../dataFolder.ts";
import { comparisons, mostError, near, told } from "./heldOut.ts";

const usage = `usage: node operator/simulator/calibrate/recordings.ts
Fits rates to the first half of each recorded run and prints the error of the other half.
exit code: 0 each held-out mean is within ${mostError * 100} %, or there are no recordings; 1 one is not; 2 the command line is wrong`;

if (givenTo(usage, { options: {} }) !== undefined) compare();

function compare(): void {
  const folder = dataFolder();
  if (folder === undefined) {
    console.log(`No recordings: ${dataAbsent}.`);
    return;
  }
  const all = comparisons(folder);
  for (const one of all) console.log(`\n${told(one)}`);
  if (!near(all)) process.exitCode = 1;
}
