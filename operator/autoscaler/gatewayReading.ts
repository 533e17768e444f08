/** What a gateway's metrics say of demand; a metric that is missing or no number makes the whole reading void. */
import { demandMetrics, type PromptStage } from "../../runtime/wire/demandMetrics.ts";
import type { Buckets, ClassReading, GatewayReading } from "../planning/autoscaling/reading.ts";
import { type MetricSamples, parseMetricText } from "./metricText.ts";
import { checked, type Labels, matches, valueOf } from "./metricValue.ts";

export interface ReadingOf {
  readonly pod: string;
  readonly podUid: string;
  readonly atMs: number;
  /** Names of the length classes that the deployment has now. */
  readonly classes: readonly string[];
}

/** @throws Error with the metric that is missing or can't be true. */
export function gatewayReading(text: string, { pod, podUid, atMs, classes }: ReadingOf): GatewayReading {
  const samples = parseMetricText(text);
  const classOf = (name: string): ClassReading => {
    const labels = { class: name };
    const stage = (at: PromptStage): number =>
      valueOf(samples, demandMetrics.prompts, { ...labels, stage: at });
    return {
      arrived: valueOf(samples, `${demandMetrics.promptTokens}_count`, labels),
      tokens: valueOf(samples, `${demandMetrics.promptTokens}_sum`, labels),
      squared: valueOf(samples, demandMetrics.promptTokensSquared, labels),
      lengths: bucketsOf(samples, demandMetrics.promptTokens, labels),
      waiting: stage("waiting"),
      prefilling: stage("prefilling"),
      decoding: stage("decoding"),
    };
  };
  return {
    podUid,
    pod,
    atMs,
    classes: Object.fromEntries(classes.map((name) => [name, classOf(name)])),
    output: {
      count: valueOf(samples, `${demandMetrics.outputTokens}_count`, {}),
      tokens: valueOf(samples, `${demandMetrics.outputTokens}_sum`, {}),
    },
    tokenGaps: bucketsOf(samples, demandMetrics.interTokenLatency, {}),
    waitingForRanks: valueOf(samples, demandMetrics.waitingForRanks, {}),
  };
}

function bucketsOf(samples: MetricSamples, name: string, labels: Labels): Buckets {
  return (samples.get(`${name}_bucket`) ?? [])
    .filter((one) => matches(one.labels, labels))
    .map(({ labels: own, value }) => ({
      upTo: own["le"] === "+Inf" ? Infinity : Number(own["le"]),
      count: checked(value, `${name}_bucket`, labels),
    }))
    .sort((a, b) => a.upTo - b.upTo);
}
