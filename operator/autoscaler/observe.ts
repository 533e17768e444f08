/** Looks at one deployment: metrics of its gateways and states of its ranks, all at once and with deadlines. */
import type { RankState } from "../../runtime/wire/schema/membership.ts";
import type { CSPSDeploymentSpec } from "../../crds/schema/cspsdeployment.ts";
import type { CSPSDeployment, Pod } from "../kube/object.ts";
import type { GatewayReading } from "../planning/autoscaling/reading.ts";
import type { StoreTrouble } from "../planning/scaling/decision.ts";
import { podRuns } from "../planning/gang/roster.ts";
import { podIndex } from "../ranks/context.ts";
import { rankRef } from "../ranks/engines.ts";
import { childName, gatewayPort, labelKey } from "../ranks/names.ts";
import { isOver, rankPodView } from "../ranks/podView.ts";
import type { AutoscalerContext } from "./context.ts";
import { gatewayReading } from "./gatewayReading.ts";
import { lookAtStore } from "./lookAtStore.ts";

const deadlineMs = 3_000;
/** Metrics of a gateway are some tens of kilobytes. */
const mostCharacters = 4_000_000;

export interface Look {
  readonly gateways: readonly Pod[];
  readonly readings: readonly GatewayReading[];
  /** States of ranks that answered as their pod's present incarnation. */
  readonly states: readonly RankState[];
  /** Rank pods that were asked. */
  readonly asked: number;
  /** Sentences, one for each gateway that could not be read. */
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
  const byRole = (...roles: readonly string[]): Pod[] =>
    pods.filter((pod) => roles.includes(pod.metadata.labels?.[labelKey.role] ?? ""));
  const gateways = byRole("gateway").filter(isReady);
  const ranks = byRole("prefill", "decode");
  const [read, states, store] = await Promise.all([
    Promise.all(gateways.map((pod) => readGateway(context, pod, asked))),
    askRanks(context, ranks, { namespace, secret: childName.controlToken(name), signal: asked.signal }),
    lookAtStore(context, deployment),
  ]);
  return {
    gateways,
    readings: read.filter((one) => typeof one !== "string"),
    failures: read.filter((one) => typeof one === "string"),
    ...states,
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
    const limit = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
    const response = await fetch(`http://${hostOf(pod)}:${gatewayPort}/metrics`, { signal: limit });
    const text = await response.text();
    if (!response.ok) return `gateway ${name} answered ${response.status}`;
    if (text.length > mostCharacters) return `gateway ${name} answered ${text.length} characters`;
    return gatewayReading(text, { pod: name, podUid: uid, atMs: context.steadyMs(), classes });
  } catch (error) {
    return `gateway ${name}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function hostOf(pod: Pod): string {
  const address = pod.status?.podIP ?? "";
  return address.includes(":") ? `[${address}]` : address;
}

async function askRanks(
  context: AutoscalerContext,
  pods: readonly Pod[],
  at: { readonly namespace: string; readonly secret: string; readonly signal: AbortSignal },
): Promise<Pick<Look, "states" | "asked">> {
  const sources = { node: (node: string) => context.nodes.get(node), nowMs: context.steadyMs() };
  const running = pods.map((pod) => rankPodView(pod, sources)).filter(podRuns);
  if (running.length === 0) return { states: [], asked: 0 };
  const client = await context.rankClients.of(at.namespace, at.secret);
  const answers = await Promise.all(
    running.map(async (pod) => {
      try {
        const state = await client.state(rankRef(pod), { deadlineMs, signal: at.signal });
        return state.rank.incarnation === pod.uid ? [state] : [];
      } catch {
        // Counted by its absence.
        return [];
      }
    }),
  );
  return { states: answers.flat(), asked: running.length };
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}
