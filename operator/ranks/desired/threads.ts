/** How many threads a rank computes with. */
import { parseQuantityMilli } from "../../planning/topology/quantity.ts";
import type { GangDesign } from "../gang.ts";
import { engineResources } from "./engineResources.ts";
import type { Container } from "./security.ts";

/**
 * On cpu, the whole cores that the container may use, its limit or else what it asked for, shared by the processes
 * that the rank is. Where neither is said the image's own single thread stays, for ranks that share a machine's cores
 * slow each other down otherwise.
 */
export function threadVariables(design: GangDesign): NonNullable<Container["env"]> {
  if (design.engine.backend !== "cpu") return [];
  const { limits = {}, requests = {} } = engineResources(design);
  const cpu = limits["cpu"] ?? requests["cpu"];
  const milli = cpu === undefined ? undefined : parseQuantityMilli(cpu);
  if (milli === undefined) return [];
  const each = Math.floor(milli / 1000 / design.tensorParallel.degree);
  return [{ name: "OMP_NUM_THREADS", value: String(Math.max(1, each)) }];
}
