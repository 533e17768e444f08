/** Values of the Helm chart charts/csps. `values.schema.json` and the table in its README are made from this. */
import { z } from "zod";
import { quantity } from "./fields.ts";

const labels = z.record(z.string(), z.string());
const free = z.record(z.string(), z.unknown());
const pullPolicy = z.enum(["Always", "IfNotPresent", "Never"]).default("IfNotPresent");

function image(repository: string, what: string) {
  return z
    .strictObject({
      repository: z
        .string()
        .min(1)
        .default(repository)
        .describe(`Image of ${what}, without registry and tag`),
      tag: z
        .string()
        .default("")
        .describe("Tag, or a digest that starts with sha256:; empty: the chart's appVersion"),
    })
    .prefault({})
    .describe(`Image of ${what}`);
}

const containerResources = z
  .strictObject({
    requests: z
      .record(z.string(), quantity)
      .default({ cpu: "50m", memory: "96Mi" })
      .describe("What the scheduler sets aside"),
    limits: z
      .record(z.string(), quantity)
      .default({ memory: "150Mi" })
      .describe("What the container may use at most"),
  })
  .describe("Of the operator's container");

const serviceMonitor = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        "Make a ServiceMonitor of the operator and a PodMonitor of gateways and ranks; needs the Prometheus operator's CRDs",
      ),
    interval: z.string().default("30s").describe("Time between two scrapes"),
    labels: labels.default({}).describe("Labels that the Prometheus selects ServiceMonitors by"),
  })
  .describe("Scraping by the Prometheus operator");

const prometheusRule = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe("Make a PrometheusRule; needs the Prometheus operator's CRDs"),
    labels: labels.default({}).describe("Labels that the Prometheus selects rules by"),
  })
  .describe("Alerts");

export const chartValues = z.strictObject({
  global: free.optional().describe("Of a parent chart; not read"),
  fullnameOverride: z.string().max(50).default("").describe("Name of all objects; empty: <release>-operator"),
  imageRegistry: z
    .string()
    .default("")
    .describe("Registry of all images, for example registry.example.com/team; empty: none"),
  imagePullPolicy: pullPolicy.describe("Of the operator's pod"),
  imagePullSecrets: z
    .array(z.strictObject({ name: z.string() }))
    .default([])
    .describe("Of the operator's pod"),
  images: z
    .strictObject({
      operator: image("csps/operator", "the operator"),
      gateway: image("csps/gateway", "gateways, where a CSPSDeployment names none"),
      engineCpu: image("csps/engine-cpu", "ranks with backend cpu, where a CSPSDeployment names none"),
      engineCuda: image("csps/engine-cuda", "ranks with backend cuda, where a CSPSDeployment names none"),
      redis: image("csps/redis", "bundled state stores, where a CSPSDeployment names none"),
    })
    .prefault({})
    .describe("Images of the operator and of what it runs"),
  replicas: z
    .int()
    .min(0)
    .max(9)
    .default(1)
    .describe("Operator pods; one leads, the others take over within 20 s"),
  watchNamespace: z
    .string()
    .max(63)
    .default("")
    .describe("Carry out the CSPSDeployments of this namespace only; empty: of all"),
  logLevel: z
    .enum(["debug", "info", "warn", "error"])
    .default("info")
    .describe("Least severe log that is written"),
  resources: containerResources.prefault({}),
  nodeSelector: labels.default({}).describe("As in a pod"),
  tolerations: z.array(free).default([]).describe("As in a pod"),
  lostNodeSeconds: z
    .int()
    .min(0)
    .max(3600)
    .default(10)
    .describe(
      "How long a pod may stay on a node that Kubernetes takes for lost; then another begins elsewhere. Two at a time do no harm: one leads, and ranks refuse an old leader",
    ),
  affinity: free.default({}).describe("As in a pod"),
  priorityClassName: z
    .string()
    .default("")
    .describe("As in a pod; system-cluster-critical keeps it on a full cluster"),
  podAnnotations: labels.default({}).describe("Annotations of the operator's pods"),
  podLabels: labels.default({}).describe("More labels of the operator's pods"),
  serviceAccount: z
    .strictObject({
      create: z.boolean().default(true).describe("Make a ServiceAccount"),
      name: z
        .string()
        .default("")
        .describe("Its name; empty: that of the other objects, or default when none is made"),
      annotations: labels.default({}).describe("Its annotations"),
    })
    .prefault({})
    .describe("Identity of the operator"),
  networkPolicy: z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .describe("Let the operator talk to the API server, DNS, ranks and Redis only"),
      apiServerPorts: z
        .array(z.int().min(1).max(65535))
        .min(1)
        .default([443, 6443])
        .describe("Ports of the API server"),
      redisPorts: z
        .array(z.int().min(1).max(65535))
        .default([6379])
        .describe("Ports of Redis, bundled or external"),
      extraEgress: z.array(free).default([]).describe("More egress rules, as in a NetworkPolicy"),
    })
    .prefault({})
    .describe("What the operator may talk to"),
  podDisruptionBudget: z
    .strictObject({
      enabled: z.boolean().default(true).describe("Keep one operator through drains; made when replicas > 1"),
    })
    .prefault({})
    .describe("Voluntary disruptions"),
  metrics: z
    .strictObject({
      serviceMonitor: serviceMonitor.prefault({}),
      prometheusRule: prometheusRule.prefault({}),
      scrapeNamespaces: z
        .array(z.string().min(1).max(63))
        .default([])
        .describe("Namespaces whose pods may scrape ranks; their NetworkPolicies admit nobody else"),
    })
    .prefault({})
    .describe("Metrics: of the operator on port 8080, of gateways on their own, of ranks on 9000"),
});

export type ChartValues = z.infer<typeof chartValues>;
