/**
 * The smallest server of external.metrics.k8s.io: one metric, the sum of a series of a Prometheus page. Stands in for
 * prometheus-adapter or KEDA where neither is installed, so that an HPA has something to go by.
 *
 *   node externalMetric.mjs <certificate> <key> <port> <url of /metrics> <series>
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [certificate, key, port, url, series] = process.argv.slice(2);
const group = "external.metrics.k8s.io/v1beta1";
const sourceDeadlineMs = 3_000;

async function value() {
  const response = await fetch(url, { signal: AbortSignal.timeout(sourceDeadlineMs) });
  const lines = (await response.text()).split("\n");
  const own = lines.filter((line) => line.startsWith(`${series} `) || line.startsWith(`${series}{`));
  return own.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

async function answer(path) {
  if (!path.includes("/namespaces/")) {
    const resource = { name: series, singularName: "", namespaced: true, kind: "ExternalMetricValueList" };
    const resources = [{ ...resource, verbs: ["get"] }];
    return { kind: "APIResourceList", apiVersion: "v1", groupVersion: group, resources };
  }
  const timestamp = new Date().toISOString();
  const item = { metricName: series, metricLabels: {}, timestamp, value: String(await value()) };
  return { kind: "ExternalMetricValueList", apiVersion: group, metadata: {}, items: [item] };
}

const server = createServer(
  { cert: readFileSync(certificate), key: readFileSync(key) },
  (request, response) => {
    answer(request.url ?? "").then(
      (body) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body)),
      (error) => response.writeHead(503).end(String(error)),
    );
  },
);
server.listen(Number(port), () => console.log(`serving ${series} on ${server.address().port}`));
