/** Looks at one deployment: metrics of its gateways and ranks, all at once and with deadlines. */
import type { CSPSDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import type { CSPSDeployment, Pod } from "../kube/object.ts";
import type { GatewayReading } from "../planning/autoscaling/reading.ts";
import type { RankPod } from "../planning/gang/observed.ts";
import { podRuns } from "../planning/gang/roster.ts";
import type { StoreTrouble } from "../planning/scaling/decision.ts";
import { podIndex } from "../ranks/context.ts";
import { childName, gatewayPort, labelKey } from "../ranks/names.ts";
import { isOver, rankPodView } from "../ranks/podView.ts";
import type { AutoscalerContext } from "./context.ts";
import { gatewayReading } from "./gatewayReading.ts";
import { lookAtStore } from "./lookAtStore.ts";
import { type RankLook, readRanks } from "./readRanks.ts";
import { scrape, whyUnread } from "./scrape.ts";

const deadlineMs = 3_000;

export interface Look extends Omit<RankLook, "failures"> {
  readonly gateways: readonly Pod[];
  readonly readings: readonly GatewayReading[];
  /** Pods of ranks that run, and so were asked. */
  readonly ranks: readonly RankPod[];
  /** How many of them decode. */
  readonly decodeRanks: number;
  /** Sentences, one for each gateway and rank that could not be read. */
  readonly failures: readonly string[];
  /** Undefined: the state store takes this leader's writes. */
  readonly store: StoreTrouble | undefined;
}

export async function lookAt(
  context: AutoscalerContext,
  deployment: CSPSDeployment,
  asked: {
    readonly spec: CSPSDeploymentSpec;
    readonly classes: readonly string[];
    readonly signal: AbortSignal;
  },
): Promise<Look> {
  const { namespace = "", name } = deployment.metadata;
  const pods = context.pods
    .byIndex(podIndex.deployment, `${namespace}/${name}`)
    .filter((pod) => pod.metadata.deletionTimestamp === undefined && !isOver(pod));
  const byRole = (role: string): Pod[] => pods.filter((pod) => pod.metadata.labels?.[labelKey.role] === role);
  const gateways = byRole("gateway").filter(isReady);
  const sources = { node: (node: string) => context.nodes.get(node), nowMs: context.steadyMs() };
  const running = (role: string): RankPod[] =>
    byRole(role)
      .map((pod) => rankPodView(pod, sources))
      .filter(podRuns);
  const decoding = running("decode");
  const ranks = [...running("prefill"), ...decoding];
  const secret = childName.controlToken(name);
  const [read, { failures, ...engines }, store] = await Promise.all([
    Promise.all(gateways.map((pod) => readGateway(context, pod, asked))),
    askRanks(context, ranks, { namespace, secret, signal: asked.signal }),
    lookAtStore(context, deployment),
  ]);
  return {
    gateways,
    readings: read.filter((one) => typeof one !== "string"),
    ranks,
    decodeRanks: decoding.length,
    ...engines,
    failures: [...read.filter((one) => typeof one === "string"), ...failures],
    store,
  };
}

async function readGateway(
  context: AutoscalerContext,
  pod: Pod,
  { classes, signal }: { readonly classes: readonly string[]; readonly signal: AbortSignal },
): Promise<GatewayReading | string> {
  const { name, uid } = pod.metadata;
  try {
    const target = { address: pod.status?.podIP ?? "", port: gatewayPort };
    const text = await scrape(target, { deadlineMs, signal });
    return gatewayReading(text, { pod: name, podUid: uid, atMs: context.steadyMs(), classes });
  } catch (error) {
    return `gateway ${name}: ${whyUnread(error)}`;
  }
}

async function askRanks(
  context: AutoscalerContext,
  ranks: readonly RankPod[],
  at: { readonly namespace: string; readonly secret: string; readonly signal: AbortSignal },
): Promise<RankLook> {
  if (ranks.length === 0) return { engines: [], reports: [], failures: [] };
  const client = await context.rankClients.of(at.namespace, at.secret);
  return readRanks(ranks, { client, deadlineMs, signal: at.signal, nowMs: () => context.steadyMs() });
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}
