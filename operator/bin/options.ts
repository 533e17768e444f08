/** Flags and environment of the operator. A flag wins over the environment, which wins over the default. */
import { parseArgs } from "node:util";
import type { DefaultImages } from "../controllers/cspsdeployment/desired/deploymentDesign.ts";
import type { LogLevel } from "../observability/logger.ts";

export interface OperatorOptions {
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  /** Watch only this namespace; undefined: all. */
  readonly namespace: string | undefined;
  readonly leaderElect: boolean;
  /** Namespace of the operator itself: of its Lease, and for network policies. */
  readonly ownNamespace: string;
  readonly leaseName: string;
  readonly metricsPort: number;
  readonly healthPort: number;
  readonly logLevel: LogLevel;
  /** Namespaces whose pods may scrape ranks. */
  readonly scrapeNamespaces: readonly string[];
  readonly images: DefaultImages;
}

export const usage = `Usage: operator [flags]

  --kubeconfig <file>    Kubeconfig; default: $KUBECONFIG, else the pod's service account, else ~/.kube/config
  --context <name>       Context of the kubeconfig; default: its current one
  --namespace <name>     Watch one namespace only; default: all, or $CSPS_OPERATOR_WATCH_NAMESPACE
  --no-leader-elect      Act without a Lease; never run two operators so
  --metrics-port <port>  Prometheus metrics (default 8080; 0: any free port)
  --health-port <port>   /healthz and /readyz (default 8081; 0: any free port)
  --log-level <level>    debug, info, warn or error (default info, or $CSPS_OPERATOR_LOG_LEVEL)
  --help                 Print this

Environment: CSPS_OPERATOR_NAMESPACE, CSPS_OPERATOR_LEASE_NAME, CSPS_OPERATOR_SCRAPE_NAMESPACES (whose pods
may scrape ranks, separated by commas), and the default images
CSPS_OPERATOR_{GATEWAY,ENGINE_CPU,ENGINE_CUDA,REDIS}_IMAGE.
`;

const logLevels: readonly string[] = ["debug", "info", "warn", "error"] satisfies LogLevel[];

/** Undefined when help is asked for. Throws an Error with a sentence for a flag that makes no sense. */
export function parseOptions(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): OperatorOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    allowNegative: true,
    options: {
      kubeconfig: { type: "string" },
      context: { type: "string" },
      namespace: { type: "string" },
      "leader-elect": { type: "boolean" },
      "metrics-port": { type: "string" },
      "health-port": { type: "string" },
      "log-level": { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help === true) return undefined;
  const given = (name: string): string | undefined => {
    const value = environment[`CSPS_OPERATOR_${name}`];
    return value === "" ? undefined : value;
  };
  return {
    kubeconfig: values.kubeconfig,
    context: values.context,
    namespace: values.namespace ?? given("WATCH_NAMESPACE"),
    leaderElect: values["leader-elect"] ?? true,
    ownNamespace: given("NAMESPACE") ?? "csps-system",
    leaseName: given("LEASE_NAME") ?? "csps-operator",
    metricsPort: parsePort("--metrics-port", values["metrics-port"] ?? "8080"),
    healthPort: parsePort("--health-port", values["health-port"] ?? "8081"),
    logLevel: parseLevel(values["log-level"] ?? given("LOG_LEVEL") ?? "info"),
    scrapeNamespaces: (given("SCRAPE_NAMESPACES") ?? "").split(",").filter((name) => name !== ""),
    images: {
      gateway: given("GATEWAY_IMAGE") ?? "csps/gateway:0.1.0",
      engineCpu: given("ENGINE_CPU_IMAGE") ?? "csps/engine-cpu:0.1.0",
      engineCuda: given("ENGINE_CUDA_IMAGE") ?? "csps/engine-cuda:0.1.0",
      redis: given("REDIS_IMAGE") ?? "csps/redis:0.1.0",
    },
  };
}

function parsePort(flag: string, text: string): number {
  const port = Number(text);
  if (text.trim() !== "" && Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Error(`${flag} must be a port from 0 to 65535, not "${text}"`);
}

function parseLevel(text: string): LogLevel {
  if (logLevels.includes(text)) return text as LogLevel;
  throw new Error(`--log-level must be one of ${logLevels.join(", ")}, not "${text}"`);
}
