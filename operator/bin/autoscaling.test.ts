/** The autoscaler and RoleScalers on a real API server; gateways and ranks are played, what they say is real text. */
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type RedisServer, startRedisServer } from "../../runtime/state/testing/redisServer.ts";
import { demandMetrics } from "../../runtime/wire/demandMetrics.ts";
import { engineMetrics } from "../../runtime/wire/engineMetrics.ts";
import type { RankLoad } from "../../runtime/wire/schema/load.ts";
import { create, remove } from "../kube/apply.ts";
import { type CSPSDeployment, ownedBy } from "../kube/object.ts";
import { cspsDeployments, decodePools, roleScalers, secrets, spGroups } from "../kube/resource.ts";
import type { ScalingDecision } from "../planning/scaling/decision.ts";
import { replay } from "../planning/scaling/plan.ts";
import { sameAsJson } from "../planning/status/records.ts";
import { readRecords } from "../records/keeper.ts";
import type { RunningOperator } from "./compose.ts";
import type { FakeGateway } from "./testing/fakeGateway.ts";
import { eventually, World } from "./testing/world.ts";

let world: World;
let redis: RedisServer;
let operator: RunningOperator;
let namespace: string;
let teaching: NodeJS.Timeout;

const quick = { intervalSeconds: 1, windowSeconds: 2, stabilizationSeconds: 1, maxSampleAgeSeconds: 10 };

function aSpec(autoscaling: object): object {
  return {
    model: { name: "tiny", source: { image: { reference: "model:1" } }, contextLength: 2048 },
    engine: { backend: "cpu" },
    slo: { ttftMs: 2_000, tbtMs: 1_000 },
    autoscaling: { groups: { max: 2 }, decodeRanks: { max: 2 }, ...quick, ...autoscaling },
    // Nothing shrinks without a state store.
    stateStore: { mode: "External", urlSecret: { name: "redis" } },
  };
}

/** 0.4 s for a prompt of 500 tokens, 20 ms a step. */
const load: RankLoad = {
  ...{ steps: 1, stepP50Ms: 20, stepP99Ms: 20, waitingPromptTokens: 0, oldestWaitMs: 0 },
  prefills: [1, 2, 3].map((number) => ({
    ...{ number, tokens: 500, degree: 1, seconds: 0.4, queuedSeconds: 0, ageMs: 1_000 },
  })),
  decodes: [{ number: 1, rows: 2, contextTokens: 1_000, ranks: 1, seconds: 0.02, ageMs: 1_000 }],
};

/** Every rank has measured a little, and a decode rank holds 1,536 tokens. */
function teach(): void {
  for (const { says } of world.kubelet.ranks) Object.assign(says, { load, pagesTotal: 24, pagesFree: 24 });
}

beforeAll(async () => {
  [world, redis] = await Promise.all([World.start(), startRedisServer()]);
  for (const name of ["n0", "n1"]) await world.addNode({ name, rack: "ra", gpus: 8 });
  operator = await world.startOperator();
  teaching = setInterval(teach, 200);
});

afterAll(async () => {
  clearInterval(teaching);
  await world.stop();
  await redis.dispose();
});

beforeEach(async () => {
  namespace = await world.newNamespace();
  await create(world.cluster, secrets, {
    metadata: { namespace, name: "redis" },
    type: "Opaque",
    data: { url: Buffer.from(redis.socket).toString("base64") },
  });
});

afterEach(async () => {
  for (const gateway of world.kubelet.gatewaysOf(namespace)) gateway.load(0);
  await remove(world.cluster, cspsDeployments, { metadata: { namespace, name: "m" } });
});

async function read(): Promise<CSPSDeployment> {
  const deployment = await world.read(cspsDeployments, namespace, "m");
  if (deployment === undefined) throw new Error("There is no deployment");
  return deployment;
}

async function counts(): Promise<string> {
  const groups = await world.list(spGroups, namespace);
  const [pool] = await world.list(decodePools, namespace);
  return `${groups.length} groups, ${pool?.spec.ranks ?? 0} ranks`;
}

async function untilCounts(expected: string): Promise<void> {
  await eventually(async () => {
    expect(await counts()).toBe(expected);
  });
}

async function untilReason(reason: string): Promise<string> {
  return eventually(async () => {
    const found = (await read()).status?.conditions?.find(({ type }) => type === "AutoscalingActive");
    expect(found?.reason).toBe(reason);
    return `${found?.status ?? ""}: ${found?.message ?? ""}`;
  });
}

/** A busy machine may first have another cause for the same. */
async function untilTold(reason: string, message: RegExp): Promise<void> {
  await eventually(async () => {
    expect(await untilReason(reason)).toMatch(message);
  });
}

async function untilMetric(name: string, rest: string): Promise<void> {
  await eventually(async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${operator.metricsPort}/metrics`)).text();
    expect(metrics).toContain(`${name}{namespace="${namespace}",name="m",${rest}`);
  });
}

async function gateway(): Promise<FakeGateway> {
  return eventually(() => {
    const [first] = world.kubelet.gatewaysOf(namespace);
    if (first === undefined) throw new Error("There is no gateway");
    return first;
  });
}

describe("Enforce", { timeout: 480_000 }, () => {
  it("grows with the load, shrinks after it, holds while blind, and is not undone by an apply", async () => {
    const spec = aSpec({ mode: "Enforce" });
    await world.applyDeployment(namespace, spec);
    const door = await gateway();
    await untilReason("Steady");
    await untilCounts("1 groups, 1 ranks");

    door.load(4);
    await untilCounts("2 groups, 2 ranks");
    // The spec still says one of each; applying it again changes nothing.
    await world.applyDeployment(namespace, { ...spec, gateway: { port: 8001 } });
    await untilReason("Steady");
    const [grown, decision] = await eventually(async () => {
      const found = await read();
      expect(found.status?.scale).toMatchObject({
        groups: 2,
        decodeRanks: 2,
        degrees: [{ name: "all", upToTokens: 2048, degree: 1 }],
      });
      const up = found.status?.decisions?.find(({ choice }) => choice.startsWith("ScaleUp"));
      expect(up?.subject).toBe("scaling of m");
      return [found, up] as const;
    });
    expect(await counts()).toBe("2 groups, 2 ranks");
    expect(decision?.inputs?.join()).toMatch(/(\d) of \1 pods read, the oldest [0-9.]+ s old.*class all: /);

    // Blind: the load's end is not seen, and nothing is given up on that account.
    door.load(0);
    door.lies.set("csps_gateway_prompt_tokens_sum", "NaN");
    await untilTold(
      "MetricsMissing",
      /^False: .*2 groups of 1 and 2 decode ranks are kept.*prompt_tokens_sum.* is NaN/,
    );
    expect(await counts()).toBe("2 groups, 2 ranks");

    // It sees again that nobody asks, and can't record where KV would go.
    await redis.ask("CONFIG", "SET", "maxmemory", "1");
    try {
      door.lies.clear();
      await untilMetric("csps_autoscaler_refusals_total", 'code="StateStoreAway"');
      expect(await counts()).toBe("2 groups, 2 ranks");
    } finally {
      await redis.ask("CONFIG", "SET", "maxmemory", "0");
    }
    await untilCounts("1 groups, 1 ranks");

    const owner = { namespace, reference: ownedBy(grown) };
    const records = await eventually(async () => {
      const kept = await readRecords(world.cluster, owner, "scaling");
      expect(kept.some(({ choice }) => choice.startsWith("ScaleDown"))).toBe(true);
      return kept;
    });
    for (const { record } of records) {
      const decided = record as ScalingDecision;
      expect(sameAsJson(replay(decided), decided)).toBe(true);
    }
    for (const reason of ["ScaleUp", "ScaleDown", "MetricsMissing"]) await world.untilTold(namespace, reason);
    await untilMetric("csps_autoscaler_wanted_replicas", 'role="decode"} 1');
    await untilMetric("csps_autoscaler_refusals_total", 'code="Stabilizing"}');
    await untilMetric("csps_autoscaler_state", 'mode="Enforce",reason="Steady"} 1');
  });

  it("goes to zero when nobody asks, says so, and wakes for a request that waits in the gateway", async () => {
    const scaleToZero = { enabled: true, idleSeconds: 2 };
    await world.applyDeployment(namespace, aSpec({ mode: "Enforce", scaleToZero }));
    const door = await gateway();
    await untilCounts("0 groups, 0 ranks");
    await untilReason("Asleep");
    await eventually(async () => {
      const available = (await read()).status?.conditions?.find(({ type }) => type === "Available");
      expect(available).toMatchObject({ status: "True", reason: "ScaledToZero" });
    });
    door.waitingForRanks = 1;
    await untilCounts("1 groups, 1 ranks");
    // The status is written once the groups are there.
    await eventually(async () => {
      expect((await read()).status?.decisions?.map(({ choice }) => choice).join()).toContain(
        "Woken: 1 requests wait; 1 groups of 1 and 1 decode ranks are started for them",
      );
    });
    door.waitingForRanks = 0;
    door.load(2);
    await untilReason("Steady");
  });
});

/** What a HorizontalPodAutoscaler goes by: requests under way, as the gateway tells them. */
async function serveMetric(source: string, series: string): Promise<ChildProcess> {
  const folder = dirname(world.plane.kubeconfigPath);
  const script = join(import.meta.dirname, "../../e2e/scenarios/externalMetric.mjs");
  // The API server's own certificate: it asks for none in particular.
  const args = [script, join(folder, "apiserver.crt"), join(folder, "apiserver.key"), "0", source, series];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise<string>((resolve, reject) => {
    child.once("exit", reject);
    child.stdout.on("data", (chunk) => {
      resolve(/on (\d+)/.exec(String(chunk))?.[1] ?? "");
    });
  });
  const service = { name: "metrics", namespace, port: Number(port) };
  const objects = [
    {
      ...{ apiVersion: "v1", kind: "Service", metadata: { name: "metrics", namespace } },
      spec: { type: "ExternalName", externalName: "localhost", ports: [{ port: Number(port) }] },
    },
    {
      ...{ apiVersion: "apiregistration.k8s.io/v1", kind: "APIService" },
      metadata: { name: "v1beta1.external.metrics.k8s.io" },
      spec: {
        ...{ group: "external.metrics.k8s.io", version: "v1beta1", insecureSkipTLSVerify: true, service },
        ...{ groupPriorityMinimum: 100, versionPriority: 100 },
      },
    },
    {
      ...{ apiVersion: "autoscaling/v2", kind: "HorizontalPodAutoscaler" },
      metadata: { name: "decode", namespace },
      spec: {
        scaleTargetRef: { apiVersion: "csps.io/v1alpha1", kind: "RoleScaler", name: "m-decode" },
        ...{ minReplicas: 1, maxReplicas: 2 },
        metrics: [
          {
            type: "External",
            external: { metric: { name: series }, target: { type: "AverageValue", averageValue: "3" } },
          },
        ],
        behavior: { scaleDown: { stabilizationWindowSeconds: 0 } },
      },
    },
  ];
  for (const object of objects)
    await world.plane.kubectl(["apply", "--server-side", "-f", "-"], JSON.stringify(object));
  return child;
}

describe("Advise", { timeout: 360_000 }, () => {
  it("says what it would do and does nothing, and what it can't see", async () => {
    await world.applyDeployment(namespace, aSpec({ mode: "Advise", maxSampleAgeSeconds: 5 }));
    const door = await gateway();
    await untilReason("Steady");
    door.load(4);
    await eventually(async () => {
      const wanted =
        "True: advice only: 1 groups of 1 and 1 decode ranks become 2 groups of 1 and 2 decode ranks";
      expect(await untilReason("ScaleUp")).toContain(wanted);
    });
    const { status } = await read();
    expect(status?.scale).toBeUndefined();
    expect(status?.decisions?.[0]?.choice).toMatch(/^advice: ScaleUp/);
    expect(await counts()).toBe("1 groups, 1 ranks");

    // How full the pool is can't be known, and is not taken for empty.
    for (const { lies } of world.kubelet.ranks) lies.set(engineMetrics.poolPagesFree.name, "NaN");
    await untilTold(
      "MetricsMissing",
      /^False: advice only: .*rank m-decode-0: csps_pool_kv_pages_free is NaN/,
    );
  });
});

describe("External", { timeout: 480_000 }, () => {
  const scale = (role: string, replicas: number): Promise<string> =>
    world.plane.kubectl(["scale", "-n", namespace, `rolescaler/m-${role}`, `--replicas=${replicas}`]);

  it("takes its counts from /scale within the bounds, and gives them back when the mode is left", async () => {
    await world.applyDeployment(namespace, aSpec({ mode: "External" }));
    await eventually(async () => {
      expect((await world.list(roleScalers, namespace)).map(({ status }) => status?.replicas)).toEqual([
        1, 1,
      ]);
    });
    await scale("decode", 2);
    await scale("prefill", 7);
    await untilCounts("2 groups, 2 ranks");
    await eventually(async () => {
      const prefill = await world.read(roleScalers, namespace, "m-prefill");
      expect(prefill?.status).toMatchObject({
        replicas: 2,
        message: "7 groups of 1 and 2 decode ranks is above the maximum",
      });
    });
    // As the HPA sees it: the selector matches the pods of the role and no other.
    const raw = `/apis/csps.io/v1alpha1/namespaces/${namespace}/rolescalers/m-decode/scale`;
    const { status } = JSON.parse(await world.plane.kubectl(["get", "--raw", raw])) as {
      status: { replicas: number; selector: string };
    };
    expect(status.replicas).toBe(2);
    const selected = await world.plane.kubectl([
      "get",
      "pods",
      "-n",
      namespace,
      "-l",
      status.selector,
      "-o",
      "name",
    ]);
    expect(selected.trim().split("\n").sort()).toEqual(["pod/m-decode-0", "pod/m-decode-1"]);
    // An apply of the spec does not touch the replicas.
    await world.applyDeployment(namespace, { ...aSpec({ mode: "External" }), gateway: { port: 8001 } });
    expect(await untilReason("External")).toMatch(/^True/);
    expect(await counts()).toBe("2 groups, 2 ranks");

    // A real HorizontalPodAutoscaler takes over.
    await scale("prefill", 1);
    await untilCounts("1 groups, 2 ranks");
    const door = await gateway();
    const metric = await serveMetric(`http://${door.address}:8000/metrics`, demandMetrics.prompts);
    try {
      await untilCounts("1 groups, 1 ranks");
      door.decoding = 5;
      await untilCounts("1 groups, 2 ranks");
    } finally {
      metric.kill();
    }

    await world.applyDeployment(namespace, aSpec({ mode: "Off" }));
    await untilCounts("1 groups, 1 ranks");
    await eventually(async () => {
      expect(await world.list(roleScalers, namespace)).toEqual([]);
      expect((await read()).status?.scale).toBeUndefined();
    });
  });
});
