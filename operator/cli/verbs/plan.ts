/** `plan`: where the ranks of a manifest would lie, and how they would do under a trace, before it is applied. */
import type { CSPSDeployment } from "../../kube/object.ts";
import { capacityView } from "../capacity.ts";
import { exitCode } from "../exitCode.ts";
import type { Machines } from "../observe.ts";
import type { Report } from "../output/report.ts";
import { type Cell, heading, indent, type Paint, table } from "../output/table.ts";
import { type GangPlacement, placeGangs } from "../placements.ts";
import type { Surroundings, TrafficPrediction, Unpredicted } from "../surroundings.ts";
import { isDoubtful, predictTraffic, type Traffic, trafficPage } from "./traffic.ts";

/** A manifest that passed its checks; `note` tells what could not be checked. */
export interface Checked {
  readonly deployment: CSPSDeployment;
  readonly note: string | undefined;
}

interface DeploymentPlan {
  readonly namespace: string;
  readonly name: string;
  readonly fits: boolean;
  readonly groups: readonly GangPlacement[];
  readonly notes: readonly string[];
  readonly prediction: TrafficPrediction | Unpredicted | undefined;
}

export function plan(
  checked: readonly Checked[],
  { machines, traffic }: { readonly machines: Machines; readonly traffic: Traffic },
  around: Pick<Surroundings, "designGangs" | "nowMs" | "predict">,
): Report {
  const view = capacityView(machines, around.nowMs);
  const data = checked.map(({ deployment, note }): DeploymentPlan => {
    const { gangs, replaced } = placeGangs(view, around.designGangs(deployment));
    const freed = `the room of ${String(replaced)} running ranks of the same groups counts as free`;
    return {
      namespace: deployment.metadata.namespace ?? "",
      name: deployment.metadata.name,
      fits: gangs.every((gang) => gang.fits),
      groups: gangs,
      notes: [...(note === undefined ? [] : [note]), ...(replaced > 0 ? [freed] : [])],
      prediction: predictTraffic(deployment, traffic, machines, around),
    };
  });
  const misses = data.some(({ prediction }) => prediction !== undefined && isDoubtful(prediction));
  const placed = misses ? exitCode.misses : exitCode.done;
  const exit = data.every((one) => one.fits) ? placed : exitCode.doesNotFit;
  return { data, text: (paint) => data.map((one) => page(one, paint)).join("\n\n"), exit };
}

function page(one: DeploymentPlan, paint: Paint): string {
  const verdict = one.fits
    ? paint({ text: "fits", tone: "good" })
    : paint({ text: "does not fit", tone: "bad" });
  const groups = one.groups.map((gang) => {
    const refused = gang.refusals.map((refusal) => `refused: ${refusal}`);
    const lines = [gang.sentence, ...refused, ...(gang.fits ? [places(gang, paint)] : [])];
    return `${paint(heading(gang.group))} (${gang.role})\n${indent(lines.join("\n"))}`;
  });
  const notes = one.notes.map((note) => `Note: ${note}`);
  const predicted = one.prediction === undefined ? [] : [trafficPage(one.prediction, paint)];
  return [`${one.namespace}/${one.name} ${verdict}.`, ...groups, ...predicted, ...notes].join("\n");
}

function places(gang: GangPlacement, paint: Paint): string {
  const rows = gang.places.map(({ rankId, node }): Cell[] => [rankId, node]);
  return table(["RANK", "NODE"], rows, paint);
}
