/** What a rank's metrics say of its KV; a metric that is missing or can't be true makes the whole reading void. */
import { engineMetrics } from "../../runtime/wire/engineMetrics.ts";
import { role, type Role } from "../../runtime/wire/schema/identity.ts";
import { type MetricSamples, parseMetricText } from "./metricText.ts";
import { checked, onlySample } from "./metricValue.ts";

export interface PageCount {
  readonly total: number;
  readonly free: number;
}

export interface EngineReading {
  readonly pod: string;
  readonly podUid: string;
  /** On a clock that no step moves. */
  readonly atMs: number;
  readonly role: Role;
  /** Whether it speaks for its group. */
  readonly coordinates: boolean;
  readonly pageTokens: number;
  /** KV pages of this rank. */
  readonly pages: PageCount;
  /** KV pages of all ranks of the pool; none unless this one coordinates it. */
  readonly pool: PageCount;
}

/**
 * @param of the pod as the API server has it: an answer of an earlier one at the same address is refused.
 * @throws Error with the metric that is missing, there twice, or can't be true.
 */
export function engineReading(
  text: string,
  of: Pick<EngineReading, "pod" | "podUid" | "atMs">,
): EngineReading {
  const samples = parseMetricText(text);
  const { labels } = onlySample(samples, engineMetrics.rankInfo.name);
  const incarnation = labels["incarnation"] ?? "";
  if (incarnation !== of.podUid)
    throw new Error(`${engineMetrics.rankInfo.name} is of pod ${incarnation} and not of ${of.podUid}`);
  const plays = role.safeParse(labels["role"]).data;
  if (plays === undefined)
    throw new Error(`${engineMetrics.rankInfo.name} has no role "${labels["role"] ?? ""}"`);
  const pageTokens = countOf(samples, "pageTokens");
  if (pageTokens === 0) throw new Error(`${engineMetrics.pageTokens.name} is 0, which can't be true`);
  return {
    ...of,
    role: plays,
    coordinates: countOf(samples, "coordinates") > 0,
    pageTokens,
    pages: pagesOf(samples, "pages", "pagesFree"),
    pool: pagesOf(samples, "poolPages", "poolPagesFree"),
  };
}

type Gauge = keyof typeof engineMetrics;

function pagesOf(samples: MetricSamples, all: Gauge, unheld: Gauge): PageCount {
  const [total, free] = [countOf(samples, all), countOf(samples, unheld)];
  if (free <= total) return { total, free };
  throw new Error(`${engineMetrics[unheld].name} is ${free} of ${total}, which can't be true`);
}

function countOf(samples: MetricSamples, gauge: Gauge): number {
  const { name } = engineMetrics[gauge];
  const count = checked(onlySample(samples, name).value, name);
  if (Number.isSafeInteger(count)) return count;
  throw new Error(`${name} is ${count}, which can't be true`);
}
