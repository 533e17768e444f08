import { describe, expect, it } from "vitest";
import { gatewayEnvironment, rankEnvironment } from "../../../../runtime/wire/schema/environment.ts";
import type { CSPSDeployment, Deployment, Pod, StatefulSet } from "../../../kube/object.ts";
import { decodeDesign, prefillDesign } from "../../../ranks/gang.ts";
import { desiredRankPod } from "../../../ranks/desired/rankPod.ts";
import { rankShape } from "../../../ranks/desired/rankShape.ts";
import { deploymentDesign, type DeploymentDesign, revisionOf } from "./deploymentDesign.ts";
import { desiredGroups, desiredPool } from "./gangs.ts";
import { desiredGateway } from "./gateway.ts";
import { desiredNetworkPolicies } from "./networkPolicies.ts";
import type { PolicyPeer } from "./otherKinds.ts";
import { desiredRankService } from "./rankService.ts";
import { desiredBundledState, secretValue } from "./secrets.ts";
import { desiredStateStore } from "./stateStore.ts";

const images = { gateway: "gw:1", engineCpu: "cpu:1", engineCuda: "cuda:1", redis: "redis:1" };
const model = { name: "tiny", source: { image: { reference: "model:1" } }, contextLength: 2048 };

function design(spec: object = {}): DeploymentDesign {
  const deployment = {
    apiVersion: "csps.io/v1alpha1",
    kind: "CSPSDeployment",
    metadata: { name: "m", namespace: "ns", uid: "u", resourceVersion: "1", creationTimestamp: "" },
    spec: { model, engine: { backend: "cpu" }, ...spec },
  };
  const surroundings = { images, operatorNamespace: "csps-system", scrapeNamespaces: ["monitoring"] };
  return deploymentDesign(deployment as unknown as CSPSDeployment, surroundings);
}

const owner = { apiVersion: "csps.io/v1alpha1", kind: "SPGroup", name: "m-prefill-0", uid: "g" };

function prefillPod(spec: object = {}): NonNullable<Pod["spec"]> {
  const [group] = desiredGroups(design(spec));
  const pod = desiredRankPod({ design: prefillDesign(group as never), ordinal: 1, owner });
  if (pod.spec === undefined) throw new Error("The pod has no spec");
  return pod.spec;
}

function environmentOf(spec: NonNullable<Pod["spec"]>): Record<string, string> {
  const variables = spec.containers[0]?.env ?? [];
  return Object.fromEntries(
    variables.map((one) => [one.name, one.value ?? one.valueFrom?.fieldRef?.fieldPath ?? ""]),
  );
}

function isScraper(peer: PolicyPeer): boolean {
  return peer.namespaceSelector?.matchLabels?.["kubernetes.io/metadata.name"] === "monitoring";
}

describe("the pod of a rank", () => {
  it.each([
    [{ limits: { cpu: "8" }, requests: { cpu: "2" } }, "8"],
    [{ requests: { cpu: 3 } }, "3"],
    [{ limits: { cpu: "2500m" } }, "2"],
    [{ limits: { cpu: "200m" } }, "1"],
    [{ limits: { memory: "1Gi" } }, undefined],
  ])("computes with the whole cores of %j: %s", (resources, threads) => {
    const env = environmentOf(prefillPod({ prefill: { rank: { resources } } }));
    expect(env["OMP_NUM_THREADS"]).toBe(threads);
  });

  it("shares its cores between its tensor-parallel processes", () => {
    const rank = { resources: { limits: { cpu: "9" } } };
    const env = environmentOf(prefillPod({ prefill: { rank, tensorParallel: { degree: 2 } } }));
    expect(env).toMatchObject({ OMP_NUM_THREADS: "4", CSPS_TENSOR_PARALLEL: "2" });
  });

  it.each([
    ["Disabled", "disabled"],
    ["Enabled", "enabled"],
    ["UnderPressure", "enabled"],
  ])(
    "lets ranks thin attention where the deployment does, always or under pressure: %s",
    (mode, expected) => {
      const sparseAttention = { mode, qualityFloorPercent: 97 };
      const env = environmentOf(prefillPod({ prefill: { sparseAttention } }));
      expect(env).toMatchObject({
        CSPS_SPARSE_ATTENTION: expected,
        CSPS_SPARSE_QUALITY_FLOOR_PERCENT: "97",
      });
    },
  );

  it("lets decode ranks choose what steps read where the deployment does, which replaces them", () => {
    const decodePod = (decode: object) => {
      const pool = desiredPool(design({ decode }));
      const pod = desiredRankPod({ design: decodeDesign(pool as never), ordinal: 0, owner });
      return { revision: pool.spec.revision, env: environmentOf(pod.spec as NonNullable<Pod["spec"]>) };
    };
    const exact = decodePod({ sparseAttention: { minTokens: 4096 } });
    expect(exact.env).toMatchObject({ CSPS_SPARSE_ATTENTION: "disabled", CSPS_ROLE: "decode" });
    // What a disabled section says changes nothing that runs.
    expect(exact.revision).toBe(decodePod({}).revision);
    const chosen = decodePod({ sparseAttention: { mode: "Enabled", minTokens: 4096, thresholdPercent: 5 } });
    expect(chosen.env).toMatchObject({
      CSPS_SPARSE_ATTENTION: "enabled",
      CSPS_SPARSE_MIN_TOKENS: "4096",
      CSPS_SPARSE_THRESHOLD_PERCENT: "5",
    });
    expect(chosen.revision).not.toBe(exact.revision);
  });

  it("carries exactly the environment that the engine reads", () => {
    const environment = environmentOf(prefillPod());
    expect(Object.keys(environment).sort()).toEqual(Object.keys(rankEnvironment.shape).sort());
    expect(rankEnvironment.parse(environment)).toMatchObject({
      CSPS_RANK_ID: "m-prefill-0-1",
      CSPS_INCARNATION: "metadata.uid",
      CSPS_ADDRESS: "status.podIP",
      CSPS_MODEL_PATH: "/models",
      CSPS_KV_BYTES: "",
    });
  });

  it("is gated, restricted, and never restarted in place", () => {
    const spec = prefillPod();
    expect(spec).toMatchObject({
      schedulingGates: [{ name: "csps.io/gang" }],
      restartPolicy: "Never",
      subdomain: "m-ranks",
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: "RuntimeDefault" } },
    });
    for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
    }
  });

  it("copies the model out of its image, or mounts the claim and reads a folder in it", () => {
    expect(prefillPod().initContainers).toMatchObject([
      { image: "model:1", command: ["cp", "-rL", "/model/.", "/models/"] },
    ]);
    const source = { persistentVolumeClaim: { claimName: "weights", path: "llama/8b/" } };
    const mounted = prefillPod({ model: { ...model, source } });
    expect(mounted.initContainers).toEqual([]);
    expect(mounted.volumes).toContainEqual({
      name: "models",
      persistentVolumeClaim: { claimName: "weights", readOnly: true },
    });
    expect(environmentOf(mounted)["CSPS_MODEL_PATH"]).toBe("/models/llama/8b");
  });

  it("asks for a GPU per tensor-parallel process on cuda, unless the user names GPUs", () => {
    const prefill = { tensorParallel: { degree: 4 } };
    const limits = (spec: object) => prefillPod(spec).containers[0]?.resources?.limits;
    expect(limits({ engine: { backend: "cuda" }, prefill })).toEqual({ "nvidia.com/gpu": "4" });
    expect(limits({ engine: { backend: "cpu" }, prefill })).toEqual({});
    const rank = { resources: { limits: { "example.com/gpu": 2 } } };
    expect(limits({ engine: { backend: "cuda" }, prefill: { ...prefill, rank } })).toEqual({
      "example.com/gpu": "2",
    });
  });

  it("is placed by what it asks for, with its tolerations of lost nodes", () => {
    const [group] = desiredGroups(design({ engine: { backend: "cuda" } }));
    const shape = rankShape(prefillDesign(group as never), owner);
    expect(shape.request).toEqual({ "nvidia.com/gpu": 1000, pods: 1000 });
    expect(shape.tolerations.map((one) => one.key)).toEqual([
      "node.kubernetes.io/not-ready",
      "node.kubernetes.io/unreachable",
    ]);
  });

  it("tells a decode rank its KV memory in bytes", () => {
    const pool = desiredPool(design({ decode: { kvCacheMemory: "256Mi" } }));
    const pod = desiredRankPod({ design: decodeDesign(pool as never), ordinal: 0, owner });
    expect(environmentOf(pod.spec as never)["CSPS_KV_BYTES"]).toBe("268435456");
  });
});

describe("the revision of a gang", () => {
  const revision = (spec: object) => desiredGroups(design(spec))[0]?.spec.revision;

  it("changes with what pods are made from and stays when only sizes change", () => {
    expect(revision({})).toBe(revision({ prefill: { groups: 3, sequenceParallel: { degree: 4 } } }));
    expect(revision({})).not.toBe(revision({ engine: { backend: "cpu", image: "cpu:2" } }));
    expect(revision({})).not.toBe(revision({ model: { ...model, contextLength: 4096 } }));
  });

  it("does not depend on the order of keys", () => {
    expect(revisionOf({ a: 1, b: { c: 2, d: 3 } })).toBe(revisionOf({ b: { d: 3, c: 2 }, a: 1 }));
  });
});

describe("the objects of a deployment", () => {
  it("give the gateway exactly the environment that it reads", () => {
    const objects = desiredGateway(design({ gateway: { port: 80, apiKeysSecret: "keys" } }));
    const workload = objects.find((one) => one.kind === "Deployment") as unknown as Deployment;
    const environment = environmentOf(workload.spec?.template.spec as never);
    expect(Object.keys(environment).sort()).toEqual(Object.keys(gatewayEnvironment.shape).sort());
    expect(environment).toMatchObject({
      CSPS_PORT: "8000",
      CSPS_RANKS_HOST: "m-ranks.ns.svc",
      CSPS_API_KEYS_DIR: "/etc/csps/api-keys",
    });
  });

  it("have a disruption budget only when several gateways run", () => {
    const kinds = (replicas: number) =>
      desiredGateway(design({ gateway: { replicas } })).map((one) => one.kind);
    expect(kinds(1)).toEqual(["ServiceAccount", "Deployment", "Service"]);
    expect(kinds(2)).toContain("PodDisruptionBudget");
  });

  it("resolve every rank of both roles by one headless Service", () => {
    const selector = desiredRankService(design()).spec?.selector ?? {};
    const pools = [
      prefillDesign(desiredGroups(design())[0] as never),
      decodeDesign(desiredPool(design()) as never),
    ];
    for (const gang of pools) {
      expect(desiredRankPod({ design: gang, ordinal: 0, owner }).metadata.labels).toMatchObject(selector);
    }
    expect(desiredRankService(design()).spec).toMatchObject({
      clusterIP: "None",
      publishNotReadyAddresses: true,
    });
  });

  it("keep the Redis password out of the pod and hold nothing on disk", () => {
    const secret = desiredBundledState(design(), "pass");
    expect(secretValue(secret as never, "url")).toBe("redis://:pass@m-state.ns.svc:6379/0");
    expect(secretValue(secret as never, "redis.conf")).toContain("requirepass pass\n");
    const [workload] = desiredStateStore(design()) as unknown as StatefulSet[];
    expect(JSON.stringify(workload)).not.toContain("pass@");
    expect(workload?.spec?.volumeClaimTemplates).toBeUndefined();
    const external = { mode: "External", urlSecret: { name: "s" } };
    expect(desiredStateStore(design({ stateStore: external }))).toEqual([]);
  });

  it("let only the deployment's own pods and the operator reach ranks and store", () => {
    const policies = desiredNetworkPolicies(design());
    expect(policies.map((one) => one.metadata.name)).toEqual(["m-ranks", "m-state"]);
    for (const { spec } of policies) {
      for (const peer of spec.ingress.flatMap((rule) => rule.from)) {
        const labels = peer.podSelector?.matchLabels ?? {};
        const isOwn = labels["csps.io/deployment"] === "m" && peer.namespaceSelector === undefined;
        const isOperator =
          labels["app.kubernetes.io/component"] === "operator" &&
          peer.namespaceSelector?.matchLabels?.["kubernetes.io/metadata.name"] === "csps-system";
        expect(isOwn || isOperator || isScraper(peer)).toBe(true);
      }
    }
  });

  it("admit those who scrape to the ranks' metrics and to nothing else", () => {
    const rules = desiredNetworkPolicies(design()).flatMap(({ metadata, spec }) =>
      spec.ingress.filter((rule) => rule.from.some(isScraper)).map(({ ports }) => [metadata.name, ports]),
    );
    expect(rules).toEqual([["m-ranks", [{ protocol: "TCP", port: 9000 }]]]);
  });

  it("all belong to the deployment", () => {
    const made = design();
    const objects = [
      ...desiredGateway(made),
      ...desiredStateStore(made),
      ...desiredNetworkPolicies(made),
      ...desiredGroups(made),
      desiredPool(made),
      desiredRankService(made),
    ];
    for (const object of objects)
      expect(object.metadata.ownerReferences).toMatchObject([{ uid: "u", controller: true }]);
  });
});
