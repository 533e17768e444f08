/** Requests and limits of a rank's engine container. */
import type { GangDesign } from "../gang.ts";
import type { Container } from "./security.ts";

/** On cuda a rank takes one GPU per tensor-parallel process unless the user says otherwise. */
export function engineResources(design: GangDesign): NonNullable<Container["resources"]> {
  const requests = quantities(design.rank.resources?.requests);
  const limits = quantities(design.rank.resources?.limits);
  const named = Object.keys({ ...requests, ...limits }).some((name) => name.includes("/gpu"));
  if (design.engine.backend === "cuda" && !named)
    limits["nvidia.com/gpu"] = String(design.tensorParallel.degree);
  return { requests, limits };
}

function quantities(list: Readonly<Record<string, string | number>> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(list ?? {}).map(([name, quantity]) => [name, String(quantity)]));
}
