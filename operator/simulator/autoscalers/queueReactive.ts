/**
 * Groups for the prompts in flight, as Knative's and KEDA's queue scalers reckon: their mean of a minute over a target
 * for each group; decode ranks the same for KV in use, as requests that wait for room would otherwise wait for ever. Up
 * at once, down to the largest wish of five minutes.
 */
import type { Size } from "../../planning/scaling/decision.ts";
import type { Autoscaler } from "./autoscaler.ts";
import { clamp, type RoleBounds } from "./hpa.ts";

const everySeconds = 15;
const averageLooks = 4;
const stabilizationLooks = 20;

const kvTarget = 0.8;

export function queueReactive(bounds: RoleBounds, promptsPerGroup: number): Autoscaler {
  const seen: { readonly prompts: number; readonly ranks: number }[] = [];
  const wishes: { readonly groups: number; readonly decodeRanks: number }[] = [];
  return {
    name: `queue, ${Number(promptsPerGroup.toFixed(3))} prompts a group`,
    everySeconds,
    decide({ active, wanted, promptsInFlight, kvShare }): Size {
      seen.push({ prompts: promptsInFlight, ranks: (kvShare * active.decodeRanks) / kvTarget });
      const recent = seen.slice(-averageLooks);
      const mean = (of: (one: (typeof recent)[number]) => number) =>
        recent.reduce((sum, one) => sum + of(one), 0) / recent.length;
      wishes.push({
        groups: clamp(Math.ceil(mean((one) => one.prompts) / promptsPerGroup), bounds.groups),
        decodeRanks: clamp(Math.ceil(mean((one) => one.ranks)), bounds.decodeRanks),
      });
      const window = wishes.slice(-stabilizationLooks);
      const settle = (of: (one: (typeof wishes)[number]) => number, present: number) => {
        const wish = of(window.at(-1) ?? wanted);
        return wish >= present ? wish : Math.min(present, Math.max(...window.map(of)));
      };
      return {
        ...wanted,
        groups: settle((one) => one.groups, wanted.groups),
        decodeRanks: settle((one) => one.decodeRanks, wanted.decodeRanks),
      };
    },
  };
}
