import { afterEach, describe, expect, test } from "vitest";
import { HealthChecks } from "./health.ts";
import { healthPages, metricsPages, serve, type Pages, type RunningServer } from "./http.ts";
import { createMetrics } from "./metrics.ts";

const running: RunningServer[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close()));
});

async function served(
  pages: Pages,
): Promise<(path: string, init?: RequestInit) => Promise<{ status: number; text: string }>> {
  const server = await serve(pages, 0, "127.0.0.1");
  running.push(server);
  return async (path, init) => {
    const response = await fetch(`http://127.0.0.1:${String(server.port)}${path}`, init);
    return { status: response.status, text: await response.text() };
  };
}

describe("probes", () => {
  test("tell each check by name, and fail when one fails or does not answer", async () => {
    let synced = false;
    const live = new HealthChecks().add("ping", () => undefined);
    const ready = new HealthChecks(20)
      .add("ping", () => undefined)
      .add("caches", () => {
        if (!synced) throw new Error("pods have not been listed");
      });
    const get = await served(healthPages(live, ready));
    expect(await get("/healthz")).toEqual({ status: 200, text: "[+]ping ok\ncheck passed\n" });
    expect(await get("/readyz?verbose")).toEqual({
      status: 503,
      text: "[+]ping ok\n[-]caches failed: pods have not been listed\ncheck failed\n",
    });
    synced = true;
    expect((await get("/readyz")).status).toBe(200);
    ready.add("hung", () => new Promise(() => undefined));
    expect((await get("/readyz")).text).toContain("[-]hung failed: no answer in 20 ms");
  });

  test("two checks can't share a name", () => {
    const checks = new HealthChecks().add("ping", () => undefined);
    expect(() => checks.add("ping", () => undefined)).toThrow('health check "ping"');
  });

  test("answer nothing else", async () => {
    const get = await served(healthPages(new HealthChecks(), new HealthChecks()));
    expect((await get("/metrics")).status).toBe(404);
    expect((await get("/healthz", { method: "POST" })).status).toBe(405);
    expect(await get("/healthz", { method: "HEAD" })).toEqual({ status: 200, text: "" });
  });
});

describe("metrics", () => {
  test("come in Prometheus' text form, with the process's own", async () => {
    const metrics = createMetrics("1.2.3");
    metrics.reconcileTotal.inc({ controller: "spgroup", result: "success" });
    const get = await served(metricsPages(metrics.registry));
    const { status, text } = await get("/metrics");
    expect(status).toBe(200);
    expect(text).toContain('csps_operator_info{version="1.2.3"} 1');
    expect(text).toContain('controller_runtime_reconcile_total{controller="spgroup",result="success"} 1');
    expect(text).toContain("process_resident_memory_bytes");
  });

  test("a page that throws is a 500, and the server lives on", async () => {
    const get = await served(new Map([["/broken", () => Promise.reject(new Error("no numbers"))]]));
    expect(await get("/broken")).toEqual({ status: 500, text: "Error: no numbers\n" });
    expect((await get("/broken")).status).toBe(500);
  });
});

test("a closed server frees its port although a client keeps a connection", async () => {
  const first = await serve(new Map(), 0, "127.0.0.1");
  await fetch(`http://127.0.0.1:${String(first.port)}/`);
  await first.close();
  const second = await serve(new Map(), first.port, "127.0.0.1");
  running.push(second);
  expect(second.port).toBe(first.port);
  await expect(serve(new Map(), first.port, "127.0.0.1")).rejects.toThrow("EADDRINUSE");
});
