/** What the autoscaler remembers of each deployment between two looks. After its loss it holds until it has looked twice. */
import type { Scale } from "../../crds/schema/autoscaling.ts";
import { type Learned, nothingLearned } from "../planning/autoscaling/learn.ts";
import { noOutlook, type Outlook } from "../planning/autoscaling/outlook.ts";
import type { GatewayReading } from "../planning/autoscaling/reading.ts";
import { noMemory, type ScalingMemory } from "../planning/scaling/decision.ts";
import type { EngineReading } from "./engineReading.ts";

export interface DeploymentMemory {
  /** By pod uid, oldest first: those of the window and the one before it. */
  readonly readings: Map<string, readonly GatewayReading[]>;
  /** Of ranks by pod uid: the last. */
  readonly engines: Map<string, EngineReading>;
  learned: Learned;
  outlook: Outlook;
  /** Last known, for the time when no decode rank runs. */
  kvTokensOfRank: number;
  planner: ScalingMemory;
  /** When somebody was last seen to ask. */
  askedMs: number;
  /** Scale that was written last; the cache may show an older one. */
  written: Scale | undefined;
  /** From a growth that was asked for until all ranks served, as measured last. */
  leadSeconds: number;
  growingSinceMs: number | undefined;
  /** What was told last. */
  toldNews: string | undefined;
}

/** Until a growth was measured. */
const assumedLeadSeconds = 60;

export class ScalingMemories {
  readonly #memories = new Map<string, DeploymentMemory>();

  of(deploymentUid: string, nowMs: number): DeploymentMemory {
    const known = this.#memories.get(deploymentUid);
    if (known !== undefined) return known;
    const fresh: DeploymentMemory = {
      readings: new Map(),
      engines: new Map(),
      learned: nothingLearned,
      outlook: noOutlook(nowMs),
      kvTokensOfRank: 0,
      planner: noMemory,
      askedMs: nowMs,
      written: undefined,
      leadSeconds: assumedLeadSeconds,
      growingSinceMs: undefined,
      toldNews: undefined,
    };
    this.#memories.set(deploymentUid, fresh);
    return fresh;
  }

  forget(deploymentUid: string): void {
    this.#memories.delete(deploymentUid);
  }
}

/** Takes a reading in; those that no window of this length needs any more go. */
export function keepReading(memory: DeploymentMemory, reading: GatewayReading, windowMs: number): void {
  const all = [...(memory.readings.get(reading.podUid) ?? []), reading];
  const first = all.findIndex(({ atMs }) => reading.atMs - atMs <= windowMs);
  memory.readings.set(reading.podUid, all.slice(Math.max(0, first - 1)));
}
