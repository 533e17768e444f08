/** The objects of a metric adapter in the cluster and of the HPAs that go by it, each as JSON. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureClients } from "../cluster/binaries.ts";
import { run } from "../cluster/command.ts";
import { imageReference } from "../cluster/images.ts";

const NAME = "external-metric";
const PORT = 8443;

export interface AdapterOf {
  readonly namespace: string;
  /** URL of a Prometheus page. */
  readonly source: string;
  readonly series: string;
  /** RoleScalers, each with an HPA that sets it: one replica for every two of the series. */
  readonly scalers: readonly string[];
}

export async function metricAdapter({ namespace, source, series, scalers }: AdapterOf): Promise<string[]> {
  const metadata = { name: NAME, namespace, labels: { app: NAME } };
  const script = await readFile(join(import.meta.dirname, "externalMetric.mjs"), "utf8");
  const mount = (name: string, path: string): object => ({ name, mountPath: path, readOnly: true });
  const objects = [
    { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "adapter.mjs": script } },
    { apiVersion: "v1", kind: "Secret", metadata, data: await selfSigned() },
    {
      ...{ apiVersion: "v1", kind: "Pod", metadata },
      spec: {
        containers: [
          {
            ...{ name: "adapter", image: imageReference("gateway"), imagePullPolicy: "IfNotPresent" },
            command: [
              "node",
              "/adapter/adapter.mjs",
              "/tls/tls.crt",
              "/tls/tls.key",
              String(PORT),
              source,
              series,
            ],
            volumeMounts: [mount("adapter", "/adapter"), mount("tls", "/tls")],
            readinessProbe: { tcpSocket: { port: PORT }, periodSeconds: 1 },
          },
        ],
        volumes: [
          { name: "adapter", configMap: { name: NAME } },
          { name: "tls", secret: { secretName: NAME } },
        ],
      },
    },
    {
      ...{ apiVersion: "v1", kind: "Service", metadata },
      spec: { selector: { app: NAME }, ports: [{ port: 443, targetPort: PORT }] },
    },
    {
      ...{ apiVersion: "apiregistration.k8s.io/v1", kind: "APIService" },
      metadata: { name: "v1beta1.external.metrics.k8s.io" },
      spec: {
        ...{ group: "external.metrics.k8s.io", version: "v1beta1", insecureSkipTLSVerify: true },
        ...{ service: { name: NAME, namespace }, groupPriorityMinimum: 100, versionPriority: 100 },
      },
    },
    ...scalers.map((scaler) => ({
      ...{ apiVersion: "autoscaling/v2", kind: "HorizontalPodAutoscaler" },
      metadata: { ...metadata, name: scaler },
      spec: {
        scaleTargetRef: { apiVersion: "csps.io/v1alpha1", kind: "RoleScaler", name: scaler },
        ...{ minReplicas: 1, maxReplicas: 2 },
        metrics: [
          {
            type: "External",
            external: { metric: { name: series }, target: { type: "AverageValue", averageValue: "2" } },
          },
        ],
        behavior: { scaleDown: { stabilizationWindowSeconds: 0 } },
      },
    })),
  ];
  return objects.map((object) => JSON.stringify(object));
}

/** A certificate that nobody trusts, by helm: Node makes keys and no certificates. */
async function selfSigned(): Promise<Record<string, string>> {
  const { helm } = await ensureClients(["helm"]);
  const chart = await mkdtemp(join(tmpdir(), "csps-certificate-"));
  try {
    await mkdir(join(chart, "templates"));
    await writeFile(join(chart, "Chart.yaml"), "apiVersion: v2\nname: certificate\nversion: 0.0.0\n");
    const template = `{{ $made := genSelfSignedCert "${NAME}" nil nil 1 }}tls.crt: {{ $made.Cert | b64enc }}\ntls.key: {{ $made.Key | b64enc }}\n`;
    await writeFile(join(chart, "templates", "certificate.yaml"), template);
    const rendered = await run(helm, ["template", "certificate", chart], { timeoutMs: 30_000 });
    return Object.fromEntries(
      [...rendered.matchAll(/^(tls\.(?:crt|key)): (\S+)$/gm)].map(([, name = "", value = ""]) => [
        name,
        value,
      ]),
    );
  } finally {
    await rm(chart, { recursive: true });
  }
}
