/** The generated CRDs against a real API server: what it takes, fills in and refuses. */
import { readdirSync, readFileSync } from "node:fs";
import { load } from "js-yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startControlPlane, type ControlPlane } from "../../e2e/cluster/native.ts";
import { accepted, refusals } from "./refusals.cases.ts";
import { cspsDeploymentSpec } from "./cspsdeployment.ts";

const root = new URL("../../", import.meta.url);
const invalid = readdirSync(new URL("manifests/invalid/", root));
const valid = [
  "quickstart.yaml",
  ...readdirSync(new URL("manifests/samples/", root)).map((name) => `samples/${name}`),
];

interface Manifest {
  metadata: { name: string };
  spec: unknown;
}

let plane: ControlPlane;

const text = (path: string): string => readFileSync(new URL(path, root), "utf8");
const apply = (manifest: string, ...options: string[]): Promise<string> =>
  plane.kubectl(["apply", "--server-side", "-o", "json", "-f", "-", ...options], manifest);

/** What the API server answered to an object that it refused. */
async function refusal(manifest: string): Promise<string> {
  const answer = await apply(manifest, "--dry-run=server").catch((error: unknown) => String(error));
  // The second form is server-side apply's own, for a value of another type than the schema's.
  expect(answer).toMatch(/ is invalid: |failed to create typed patch object/);
  return answer;
}

beforeAll(async () => {
  plane = await startControlPlane({ controllers: false });
  const definitions = readdirSync(new URL("crds/", root)).filter((name) => name.endsWith(".yaml"));
  for (const name of definitions)
    await plane.kubectl(["apply", "--server-side", "-f", new URL(`crds/${name}`, root).pathname]);
  await plane.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=110s"]);
});

afterAll(() => plane.stop());

describe("samples", () => {
  it.each(valid)("takes %s and fills the same defaults in as the schema does", async (path) => {
    const manifest = load(text(`manifests/${path}`)) as Manifest;
    const stored = JSON.parse(await apply(JSON.stringify(manifest))) as Manifest;
    expect(stored.spec).toEqual(cspsDeploymentSpec.parse(manifest.spec));
  });

  it("fills every section in when only the model is given", async () => {
    const stored = JSON.parse(
      await apply(
        JSON.stringify({
          apiVersion: "csps.io/v1alpha1",
          kind: "CSPSDeployment",
          metadata: { name: "least" },
          spec: {
            model: { name: "m", contextLength: 4096, source: { image: { reference: "example.com/m:1" } } },
          },
        }),
      ),
    ) as { spec: Record<string, unknown> };
    expect(stored.spec["prefill"]).toEqual({
      groups: 1,
      sequenceParallel: { degree: 1, mode: "auto" },
      sparseAttention: { mode: "Disabled", minTokens: 2048, budgetPercent: 100, qualityFloorPercent: 98 },
      tensorParallel: { degree: 1 },
      rank: { terminationGracePeriodSeconds: 60 },
    });
    expect(stored.spec["decode"]).toMatchObject({
      sparseAttention: { mode: "Disabled", minTokens: 2048, thresholdPercent: 20 },
    });
    expect(stored.spec["stateStore"]).toEqual({ mode: "Bundled" });
    expect(stored.spec["model"]).toMatchObject({
      source: { image: { path: "/model", pullPolicy: "IfNotPresent" } },
    });
  });

  it.each(invalid)("refuses invalid/%s", async (name) => {
    await refusal(text(`manifests/invalid/${name}`));
  });
});

describe("refusals name the field and the rule", () => {
  it.each(refusals)("$why", async ({ object, field, says }) => {
    const answer = await refusal(JSON.stringify(object));
    expect(answer).toContain(`${field}: `);
    expect(answer).toContain(says);
  });
});

it.each(accepted)("takes what keeps the rules: $why", async ({ object }) => {
  await apply(JSON.stringify(object), "--dry-run=server");
});

describe("status", () => {
  const name = "status-probe";

  it("is written by its own subresource and manager, and shown by kubectl get", async () => {
    const named = { ...(load(text("manifests/quickstart.yaml")) as Manifest), metadata: { name } };
    await apply(JSON.stringify(named));
    const now = "2026-01-01T00:00:00Z";
    const status = {
      apiVersion: "csps.io/v1alpha1",
      kind: "CSPSDeployment",
      metadata: { name },
      status: {
        groupsReady: "1/1",
        degree: 2,
        decodeRanksReady: "2/2",
        reason: "Serving",
        conditions: [
          { type: "Available", status: "True", reason: "Serving", message: "", lastTransitionTime: now },
        ],
      },
    };
    await apply(JSON.stringify(status), "--subresource=status", "--field-manager=csps-operator-status");
    const table = await plane.kubectl(["get", "csps", name]);
    expect(table.split("\n")[0]?.trim().split(/\s+/)).toEqual([
      "NAME",
      "AVAILABLE",
      "GROUPS",
      "DEGREE",
      "DECODE",
      "REASON",
      "AGE",
    ]);
    expect(table.split("\n")[1]?.trim().split(/\s+/).slice(0, 6)).toEqual([
      name,
      "True",
      "1/1",
      "2",
      "2/2",
      "Serving",
    ]);
  });

  it("is not touched by an apply of the spec", async () => {
    const changed = {
      ...(load(text("manifests/quickstart.yaml")) as Manifest),
      metadata: { name },
      status: { degree: 7 },
    };
    const stored = JSON.parse(await apply(JSON.stringify(changed))) as { status: { degree: number } };
    expect(stored.status.degree).toBe(2);
  });
});
