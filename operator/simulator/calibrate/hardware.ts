/**
 * Prints the rates of operator/planning/cost/gpus.ts, fitted from the hardware tables, with the error on held-out rows,
 * and what the rates that stand there make of published checks:
 *
 *     node operator/simulator/calibrate/hardware.ts
 */
import { h100Nodes } from "../../planning/cost/gpus.ts";
import { dataAbsent, dataFolder } from "../dataFolder.ts";
import { fitLine, type Line } from "./line.ts";
import { publishedChecks } from "./published.ts";
import { readNeighbours, readTables } from "./tables.ts";

const folder = dataFolder();
if (folder === undefined) {
  console.error(dataAbsent);
  process.exitCode = 1;
} else {
  const fits: Record<string, Line> = {
    "h100 neighbours, nodes apart": fitLine(readNeighbours(folder, "network")),
    "h100 neighbours, in a node": fitLine(readNeighbours(folder, "node")),
  };
  for (const gpu of ["h100", "h200"] as const) {
    for (const [name, points] of Object.entries(readTables(folder, gpu))) {
      fits[`${gpu} ${name}`] = fitLine(points as Parameters<typeof fitLine>[0]);
    }
  }
  for (const [name, line] of Object.entries(fits)) {
    const rate = (1 / line.slope).toExponential(3);
    const intercept = (line.intercept * 1e6).toFixed(2);
    const errors = `${(line.heldOutP50 * 100).toFixed(1)} % p50, ${(line.heldOutP90 * 100).toFixed(1)} % p90`;
    console.log(`${name}: ${rate}/s + ${intercept} us, ${line.rows} rows, held-out error ${errors}`);
  }
}

for (const { name, published, fitted } of publishedChecks(h100Nodes)) {
  const off = ((fitted / published - 1) * 100).toFixed(1);
  console.log(`${name}: published ${published}, by fitted rates ${fitted.toFixed(0)}, ${off} %`);
}
