/** What the verbs are given by the process that they run in, so that tests can run them in theirs. */
import type { CSPSDeployment, OwnerReference } from "../kube/object.ts";
import type { GangDesign } from "../ranks/gang.ts";
import type { ClusterAccess, PodPort, Reached } from "./reach.ts";

/** The gangs that the operator would make of a deployment, in the order in which it makes them. */
export interface DesignedGangs {
  readonly owner: OwnerReference;
  readonly gangs: readonly GangDesign[];
}

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** How a deployment would do under a recorded trace. */
export interface TrafficPrediction {
  readonly trace: string;
  readonly requests: number;
  /** Which model on which accelerator was reckoned with. */
  readonly profile: string;
  /** The counts change under way, as the deployment's own autoscaler decides. */
  readonly scaled: boolean;
  readonly ttftSeconds: Percentiles;
  readonly tbtSeconds: Percentiles;
  readonly attainment: number;
  readonly gpuHours: number;
  readonly warnings: readonly string[];
}

/** No prediction, and why: the model is not known. */
export interface Unpredicted {
  readonly unpredicted: string;
}

export interface Surroundings {
  readonly write: (text: string) => void;
  readonly writeError: (text: string) => void;
  /** Standard output is a terminal that takes colours. */
  readonly colour: boolean;
  readonly nowMs: () => number;
  /** `-` is standard input. */
  readonly readFile: (path: string) => Promise<string>;
  /** Opens a way to a port of a pod. */
  readonly reach: (access: ClusterAccess, target: PodPort) => Promise<Reached>;
  readonly designGangs: (deployment: CSPSDeployment) => DesignedGangs;
  /** Plays a trace file. Throws what is wrong with the file, or that the accelerator is not known. */
  readonly predict: (
    deployment: CSPSDeployment,
    tracePath: string,
    accelerator: string,
  ) => TrafficPrediction | Unpredicted;
}
