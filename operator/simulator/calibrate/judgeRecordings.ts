/** Prints the simulator beside recorded runs (heldOut.ts), and ends the process with 1 where a held-out mean is too far off. */
import { dataAbsent, dataFolder } from "../dataFolder.ts";
import { comparisons, mostError, near, told } from "./heldOut.ts";

export function judgeRecordings(): void {
  const folder = dataFolder();
  if (folder === undefined) {
    console.log(`\nRecorded runs are left out, and not judged: there is ${dataAbsent}.`);
    return;
  }
  const all = comparisons(folder);
  for (const one of all) console.log(`\n${told(one)}`);
  const held = near(all);
  console.log(`${held ? "held" : "NOT HELD"}: each held-out mean is within ${mostError * 100} %.`);
  if (!held) process.exitCode = 1;
}
