/** `plan --trace`: how each deployment of a manifest would do under recorded traffic. */
import type { CSPSDeployment } from "../../kube/object.ts";
import { FileError, UsageError } from "../exitCode.ts";
import type { Machines } from "../observe.ts";
import { indent, type Paint } from "../output/table.ts";
import type { Percentiles, Surroundings, TrafficPrediction, Unpredicted } from "../surroundings.ts";

export interface Traffic {
  readonly tracePath: string | undefined;
  /** Named by a flag; else the nodes tell it. */
  readonly accelerator: string | undefined;
}

const productLabel = "nvidia.com/gpu.product";

/** @returns undefined without a trace. */
export function predictTraffic(
  deployment: CSPSDeployment,
  { tracePath, accelerator }: Traffic,
  machines: Machines,
  around: Pick<Surroundings, "predict">,
): TrafficPrediction | Unpredicted | undefined {
  if (tracePath === undefined) return undefined;
  const wanted = accelerator ?? productOf(machines);
  if (wanted === undefined)
    throw new UsageError(`no node has the label ${productLabel}: name the accelerator with --accelerator`);
  try {
    return around.predict(deployment, tracePath, wanted);
  } catch (error) {
    throw new FileError(error instanceof Error ? error.message : String(error));
  }
}

/** The product of most nodes. */
function productOf({ nodes }: Machines): string | undefined {
  const counts = new Map<string, number>();
  for (const { metadata } of nodes) {
    const product = metadata.labels?.[productLabel];
    if (product !== undefined) counts.set(product, (counts.get(product) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
}

/** There is something to look at before it is applied: a warning, or no prediction where one was asked for. */
export function isDoubtful(prediction: TrafficPrediction | Unpredicted): boolean {
  return "unpredicted" in prediction || prediction.warnings.length > 0;
}

export function trafficPage(prediction: TrafficPrediction | Unpredicted, paint: Paint): string {
  if ("unpredicted" in prediction) return paint({ text: `warning: ${prediction.unpredicted}`, tone: "bad" });
  const { trace, requests, profile, scaled, attainment, gpuHours, warnings } = prediction;
  const counts = scaled ? "counts as its autoscaler decides" : "counts as stated";
  const lines = [
    `time to first token ${times(prediction.ttftSeconds, 1, "s")}`,
    `time between tokens ${times(prediction.tbtSeconds, 1e3, "ms")}`,
    `${(attainment * 100).toFixed(1)} % meet both objectives, ${gpuHours.toFixed(2)} GPU-hours`,
    ...warnings.map((warning) => paint({ text: `warning: ${warning}`, tone: "bad" })),
  ];
  return `Predicted under ${trace}, ${String(requests)} requests; ${profile}; ${counts}:\n${indent(lines.join("\n"))}`;
}

function times({ p50, p90, p99 }: Percentiles, factor: number, unit: string): string {
  const [a, b, c] = [p50, p90, p99].map((value) => (value * factor).toFixed(unit === "s" ? 2 : 1));
  return `p50 ${a ?? ""}, p90 ${b ?? ""}, p99 ${c ?? ""} ${unit}`;
}
