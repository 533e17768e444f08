/** The chart as Helm renders it, admitted by a real API server, with rights tried by impersonation. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load, loadAll } from "js-yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chartValues } from "../crds/schema/chartValues.ts";
import { ensureBinaries } from "../e2e/cluster/binaries.ts";
import { run } from "../e2e/cluster/command.ts";
import { startControlPlane, type ControlPlane } from "../e2e/cluster/native.ts";

const chart = join(import.meta.dirname, "csps");
const namespace = "csps-system";
/** Helm takes an old version for granted while it renders without a cluster. */
const kubernetes = "1.34.0";

interface Rendered {
  kind: string;
  metadata: { name: string; namespace?: string };
  spec: {
    template: {
      metadata: object;
      spec: {
        containers: { image: string; env: { name: string; value?: string }[] }[];
        tolerations: { key: string; tolerationSeconds?: number }[];
      };
    };
  };
}

let plane: ControlPlane;
let helm: string;

async function render(...values: string[]): Promise<Rendered[]> {
  const options = values.flatMap((value) => ["--set", value]);
  const args = [
    "template",
    "csps",
    chart,
    "--namespace",
    namespace,
    "--kube-version",
    kubernetes,
    ...options,
  ];
  return loadAll(await run(helm, args, { timeoutMs: 120_000 })) as Rendered[];
}

function operatorOf(objects: Rendered[]): Rendered["spec"]["template"] {
  const deployment = objects.find((object) => object.kind === "Deployment");
  if (!deployment) throw new Error("no Deployment was rendered");
  return deployment.spec.template;
}

beforeAll(async () => {
  helm = join(await ensureBinaries(), "helm");
  plane = await startControlPlane({ controllers: false });
  const restricted = { "pod-security.kubernetes.io/enforce": "restricted" };
  const home = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace, labels: restricted } };
  await plane.kubectl(["apply", "-f", "-"], JSON.stringify(home));
  const objects = await render();
  await plane.kubectl(["apply", "--server-side", "-f", join(chart, "crds")]);
  await plane.kubectl(
    ["apply", "--server-side", "-f", "-"],
    objects.map((object) => JSON.stringify(object)).join("\n"),
  );
});

afterAll(() => plane.stop());

describe("values", () => {
  it("are in values.yaml as the schema has them by default", () => {
    expect(load(readFileSync(join(chart, "values.yaml"), "utf8"))).toEqual(chartValues.parse({}));
  });

  it("are refused when a name is unknown", async () => {
    await expect(render("replcas=2")).rejects.toThrow("additional properties 'replcas' not allowed");
  });

  it("put a registry before and a digest behind each image", async () => {
    const digest = `sha256:${"0".repeat(64)}`;
    const operator = operatorOf(
      await render("imageRegistry=registry.example.com/team/", `images.redis.tag=${digest}`),
    );
    const [container] = operator.spec.containers;
    expect(container?.image).toBe("registry.example.com/team/csps/operator:0.1.0");
    const redis = container?.env.find((variable) => variable.name === "CSPS_OPERATOR_REDIS_IMAGE");
    expect(redis?.value).toBe(`registry.example.com/team/csps/redis@${digest}`);
  });
});

describe("objects", () => {
  it("pass helm lint", async () => {
    await run(helm, ["lint", "--strict", "--kube-version", kubernetes, chart], { timeoutMs: 30_000 });
  });

  it("make a pod that the restricted pod security standard admits", async () => {
    const { metadata, spec } = operatorOf(await render());
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { ...metadata, name: "probe", namespace }, spec };
    await plane.kubectl(["create", "--dry-run=server", "-f", "-"], JSON.stringify(pod));
  });

  it("leave a lost node sooner than Kubernetes has pods do, and as soon as is asked for", async () => {
    const stays = async (...values: string[]): Promise<Record<string, number | undefined>> => {
      const { tolerations } = operatorOf(await render(...values)).spec;
      return Object.fromEntries(tolerations.map((one) => [one.key, one.tolerationSeconds]));
    };
    const both = (seconds: number): object => ({
      "node.kubernetes.io/not-ready": seconds,
      "node.kubernetes.io/unreachable": seconds,
    });
    expect(await stays()).toEqual(both(10));
    expect(await stays("lostNodeSeconds=0")).toEqual(both(0));
  });

  it("have a disruption budget only when another operator can take over", async () => {
    const kinds = async (...values: string[]): Promise<string[]> =>
      (await render(...values)).map(({ kind }) => kind);
    expect(await kinds()).not.toContain("PodDisruptionBudget");
    expect(await kinds("replicas=2")).toContain("PodDisruptionBudget");
  });

  it("leave the Prometheus operator's kinds out unless they are asked for", async () => {
    const monitoring = ["PrometheusRule", "ServiceMonitor"];
    const names = (objects: Rendered[]): string[] =>
      objects
        .map(({ kind }) => kind)
        .filter((kind) => monitoring.includes(kind))
        .sort();
    expect(names(await render())).toEqual([]);
    const switches = ["metrics.serviceMonitor.enabled=true", "metrics.prometheusRule.enabled=true"];
    expect(names(await render(...switches))).toEqual(monitoring);
  });
});

describe("the operator's rights", () => {
  const subject = `system:serviceaccount:${namespace}:csps-operator`;
  const mayI = async (verb: string, resource: string, where: string): Promise<boolean> => {
    // can-i ends with status 1 on "no": the answer is in what it prints.
    const review = {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SubjectAccessReview",
      spec: {
        user: subject,
        groups: ["system:serviceaccounts"],
        resourceAttributes: attributes(verb, resource, where),
      },
    };
    const answer = await plane.kubectl(["create", "-o", "json", "-f", "-"], JSON.stringify(review));
    return (JSON.parse(answer) as { status: { allowed: boolean } }).status.allowed;
  };

  it.each([
    ["patch", "csps.io/cspsdeployments", "team"],
    ["patch", "csps.io/cspsdeployments/status", "team"],
    ["create", "csps.io/spgroups", "team"],
    ["delete", "csps.io/decodepools", "team"],
    ["update", "csps.io/spgroups/finalizers", "team"],
    ["list", "/nodes", ""],
    ["watch", "/pods", ""],
    ["create", "/pods", "team"],
    ["patch", "/services", "team"],
    ["patch", "/secrets", "team"],
    ["get", "/secrets", "team"],
    ["delete", "apps/statefulsets", "team"],
    ["create", "/serviceaccounts", "team"],
    ["patch", "networking.k8s.io/networkpolicies", "team"],
    ["patch", "policy/poddisruptionbudgets", "team"],
    ["create", "events.k8s.io/events", "team"],
    ["patch", "/configmaps", "team"],
    ["create", "coordination.k8s.io/leases", namespace],
  ])("allow to %s %s in namespace %o", async (verb, resource, where) => {
    expect(await mayI(verb, resource, where)).toBe(true);
  });

  it.each([
    ["create", "csps.io/cspsdeployments", "team"],
    ["delete", "csps.io/cspsdeployments", "team"],
    ["list", "/secrets", "team"],
    ["watch", "/secrets", "team"],
    ["delete", "/secrets", "team"],
    ["list", "/configmaps", "team"],
    ["delete", "/configmaps", "team"],
    ["create", "/pods/exec", "team"],
    ["patch", "/nodes", ""],
    ["create", "coordination.k8s.io/leases", "team"],
    ["create", "rbac.authorization.k8s.io/roles", "team"],
    ["impersonate", "/serviceaccounts", "team"],
  ])("do not allow to %s %s in namespace %o", async (verb, resource, where) => {
    expect(await mayI(verb, resource, where)).toBe(false);
  });
});

function attributes(verb: string, resource: string, namespace: string): object {
  const [group, name, subresource] = resource.split("/");
  return { verb, group, resource: name, namespace, ...(subresource !== undefined && { subresource }) };
}
