/**
 * Load of ranks from their metrics, and the samples of work that the cost model learns from, which are single events with
 * numbers and so come as messages: two requests a rank, all at once.
 */
import type { RankClient } from "../../runtime/wire/rankClient.ts";
import type { EngineReports } from "../planning/autoscaling/learn.ts";
import type { RankPod } from "../planning/gang/observed.ts";
import { rankRef } from "../ranks/engines.ts";
import { type EngineReading, engineReading } from "./engineReading.ts";
import { scrape, type ScrapeLimits, whyUnread } from "./scrape.ts";

export interface RankLook {
  readonly engines: readonly EngineReading[];
  /** One of each rank; it is empty where the rank did not answer, which tells of the same work for five minutes. */
  readonly reports: readonly EngineReports[];
  /** Sentences, one for each rank whose metrics could not be read. */
  readonly failures: readonly string[];
}

export interface RankAsking extends ScrapeLimits {
  readonly client: RankClient;
  readonly nowMs: () => number;
}

/** @param pods those that run. */
export async function readRanks(pods: readonly RankPod[], asking: RankAsking): Promise<RankLook> {
  const [readings, reports] = await Promise.all([
    Promise.all(pods.map((pod) => readMetrics(pod, asking))),
    Promise.all(pods.map((pod) => askReports(pod, asking))),
  ]);
  return {
    engines: readings.filter((one) => typeof one !== "string"),
    failures: readings.filter((one) => typeof one === "string"),
    reports,
  };
}

async function readMetrics(pod: RankPod, { nowMs, ...limits }: RankAsking): Promise<EngineReading | string> {
  try {
    const { address, controlPort: port } = rankRef(pod);
    const text = await scrape({ address, port }, limits);
    return engineReading(text, { pod: pod.rankId, podUid: pod.uid, atMs: nowMs() });
  } catch (error) {
    return `rank ${pod.rankId}: ${whyUnread(error)}`;
  }
}

async function askReports(pod: RankPod, { client, deadlineMs, signal }: RankAsking): Promise<EngineReports> {
  const none = { incarnation: pod.uid, prefills: [], decodes: [] };
  try {
    const { rank, load } = await client.state(rankRef(pod), { deadlineMs, signal });
    if (rank.incarnation !== pod.uid || load === undefined) return none;
    return { incarnation: pod.uid, prefills: load.prefills, decodes: load.decodes };
  } catch {
    // A rank that is silent is told of by its metrics.
    return none;
  }
}
