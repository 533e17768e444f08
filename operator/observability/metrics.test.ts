import { Registry } from "prom-client";
import { expect, test } from "vitest";
import type { CSPSDeployment, DecodePool, SPGroup } from "../kube/object.ts";
import { addStateMetrics, createMetrics } from "./metrics.ts";

const metadata = { name: "demo", namespace: "x", uid: "u", resourceVersion: "1", creationTimestamp: "" };
const lastTransitionTime = "2026-01-01T00:00:00Z";

test("a scrape shows the gangs and conditions of that moment, and nothing of what is gone", async () => {
  let groups = [
    { metadata, spec: { ranks: 4, minRanks: 2 }, status: { ranksReady: 3, epoch: 7, restarts: 1 } },
  ];
  const pools = [{ metadata, spec: { ranks: 2, minRanks: 1 } }];
  const conditions = [
    { type: "Available", status: "True", reason: "Serving", message: "", lastTransitionTime },
    { type: "Degraded", status: "Unknown", reason: "NoAnswer", message: "", lastTransitionTime },
  ];
  const registry = new Registry();
  addStateMetrics(registry, {
    groups: () => groups as unknown as SPGroup[],
    pools: () => pools as unknown as DecodePool[],
    deployments: () => [{ metadata, status: { conditions } } as unknown as CSPSDeployment],
  });
  const text = await registry.metrics();
  for (const sample of [
    'csps_gang_ranks{namespace="x",name="demo",role="prefill",state="wanted"} 4',
    'csps_gang_ranks{namespace="x",name="demo",role="prefill",state="needed"} 2',
    'csps_gang_ranks{namespace="x",name="demo",role="prefill",state="ready"} 3',
    'csps_gang_ranks{namespace="x",name="demo",role="decode",state="ready"} 0',
    'csps_gang_epoch{namespace="x",name="demo",role="prefill"} 7',
    'csps_gang_restarts{namespace="x",name="demo",role="prefill"} 1',
    'csps_deployment_condition{namespace="x",name="demo",type="Available",reason="Serving"} 1',
    'csps_deployment_condition{namespace="x",name="demo",type="Degraded",reason="NoAnswer"} -1',
  ]) {
    expect(text).toContain(sample);
  }
  expect(text).not.toContain('csps_gang_epoch{namespace="x",name="demo",role="decode"}');
  groups = [];
  expect(await registry.metrics()).not.toContain('role="prefill"');
});

test("two operators in one process count apart", async () => {
  const [one, other] = [createMetrics("one"), createMetrics("other")];
  one.queueAdds.inc({ name: "q", controller: "q" });
  expect(await other.registry.metrics()).not.toContain('workqueue_adds_total{name="q"');
});
