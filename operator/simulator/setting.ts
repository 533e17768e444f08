/** Profiles by name and the objectives that runs are judged by unless others are given. */
import { h100Nodes, h200Nodes } from "../planning/cost/gpus.ts";
import { llama70b, llama8b } from "../planning/cost/modelShape.ts";
import { deriveProfile, type CostProfile } from "../planning/cost/profile.ts";
import type { Objectives } from "./report.ts";

/** Tensor degrees are the smallest that leave room for a long prompt's KV. */
const profiles: Readonly<Record<string, () => CostProfile>> = {
  "8b-h100": () => deriveProfile(llama8b, h100Nodes, 1),
  "8b-h200": () => deriveProfile(llama8b, h200Nodes, 1),
  "70b-h100": () => deriveProfile(llama70b, h100Nodes, 4),
  "70b-h200": () => deriveProfile(llama70b, h200Nodes, 2),
};

export const profileNames = Object.keys(profiles);

/** @throws with the names there are. */
export function profileNamed(name: string): CostProfile {
  const make = profiles[name];
  if (make === undefined) throw new Error(`no profile "${name}"; there are ${profileNames.join(", ")}`);
  return make();
}

/** A second for the start and one more for so many tokens: longer prompts may take longer. */
export function objectivesOf(ttftTokensPerSecond: number, tbtSeconds: number): Objectives {
  return { ttftSeconds: (tokens) => 1 + tokens / ttftTokensPerSecond, tbtSeconds };
}
