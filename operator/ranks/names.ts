/** Names, labels and ports that the objects of one deployment share. */

export const labelKey = {
  name: "app.kubernetes.io/name",
  managedBy: "app.kubernetes.io/managed-by",
  component: "app.kubernetes.io/component",
  deployment: "csps.io/deployment",
  group: "csps.io/group",
  role: "csps.io/role",
  rankOrdinal: "csps.io/rank-ordinal",
  revision: "csps.io/revision",
} as const;

export const appName = "csps";
export const managedBy = "csps-operator";
export const gangGate = "csps.io/gang";
/** Node that a rank's pod is pinned to; empty while its gang has no place. */
export const nodeAnnotation = "csps.io/node";

export const controlPort = 9000;
export const transferPort = 9001;
export const gatewayPort = 8000;
export const redisPort = 6379;

export type PodRole = "prefill" | "decode" | "gateway" | "state";

export const childName = {
  prefillGroup: (deployment: string, ordinal: number): string => `${deployment}-prefill-${String(ordinal)}`,
  decodePool: (deployment: string): string => `${deployment}-decode`,
  ranksService: (deployment: string): string => `${deployment}-ranks`,
  gateway: (deployment: string): string => `${deployment}-gateway`,
  state: (deployment: string): string => `${deployment}-state`,
  controlToken: (deployment: string): string => `${deployment}-control-token`,
} as const;

/** Component label of prefill and decode ranks alike: one Service selects both, and a selector knows no "or". */
export const rankComponent = "rank";

/** Labels of every object of a deployment. */
export function ownLabels(deployment: string, component: string): Record<string, string> {
  return {
    [labelKey.name]: appName,
    [labelKey.managedBy]: managedBy,
    [labelKey.component]: component,
    [labelKey.deployment]: deployment,
  };
}

/** Labels of a pod, which selectors and network policies match. */
export function podLabels(deployment: string, role: PodRole): Record<string, string> {
  const component = role === "prefill" || role === "decode" ? rankComponent : role;
  return { ...ownLabels(deployment, component), [labelKey.role]: role };
}
