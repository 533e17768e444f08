/**
 * The simulator beside recorded runs (heldOut.ts), which `npm run bench:simulator` also judges:
 *
 *     node operator/simulator/calibrate/recordings.ts
 */
import { givenTo } from "../commandLine.ts";
import { mostError } from "./heldOut.ts";
import { judgeRecordings } from "./judgeRecordings.ts";

const usage = `usage: node operator/simulator/calibrate/recordings.ts
Fits rates to the first half of each recorded run and prints the error of the other half.
exit code: 0 each held-out mean is within ${mostError * 100} %, or there are no recordings; 1 one is not; 2 the command line is wrong`;

if (givenTo(usage, { options: {} }) !== undefined) judgeRecordings();
