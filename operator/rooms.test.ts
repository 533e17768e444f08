/** The lint rules themselves: a planted violation in each room must be found. */
import { ESLint } from "eslint";
import tseslint from "typescript-eslint";
import { describe, expect, it } from "vitest";

const root = new URL("../", import.meta.url).pathname;

/** The planted files exist on no disk, so that what needs types is left out; rooms and imports need none. */
const eslint = new ESLint({
  cwd: root,
  overrideConfig: [
    { ...tseslint.configs.disableTypeChecked, files: ["**/*.ts"] },
    { files: ["**/*.ts"], languageOptions: { parserOptions: { projectService: false } } },
  ],
});

async function rulesBrokenBy(code: string, path: string): Promise<(string | null)[]> {
  const [result] = await eslint.lintText(code, { filePath: `${root}${path}` });
  return (result?.messages ?? []).map(({ ruleId }) => ruleId);
}

const imports = (target: string): string => `import * as planted from "${target}";\nexport { planted };\n`;

describe("a room may not import", () => {
  it.each([
    ["planning from kube", "operator/planning/planted.ts", "../kube/lease.ts", "boundaries/dependencies"],
    [
      "planning from the wire",
      "operator/planning/planted.ts",
      "../../runtime/wire/schema/model.ts",
      "boundaries/dependencies",
    ],
    [
      "kube from planning",
      "operator/kube/planted.ts",
      "../planning/topology/tree.ts",
      "boundaries/dependencies",
    ],
    [
      "a controller from a sibling",
      "operator/controllers/spgroup/planted.ts",
      "../cspsdeployment/desired/gateway.ts",
      "boundaries/dependencies",
    ],
    [
      "the gateway from the operator",
      "runtime/gateway/planted.ts",
      "../../operator/kube/cluster.ts",
      "boundaries/dependencies",
    ],
    [
      "the API from the operator",
      "crds/schema/planted.ts",
      "../../operator/kube/object.ts",
      "boundaries/dependencies",
    ],
    [
      "production code from the tests' cluster",
      "operator/kube/planted.ts",
      "../../e2e/cluster/native.ts",
      "boundaries/dependencies",
    ],
    [
      "the CLI from a controller",
      "operator/cli/planted.ts",
      "../controllers/cspsdeployment/desired/gateway.ts",
      "boundaries/dependencies",
    ],
    ["planning from npm", "operator/planning/planted.ts", "zod", "no-restricted-imports"],
    ["planning from node", "operator/planning/planted.ts", "node:fs", "no-restricted-imports"],
    [
      "a controller from the Kubernetes client",
      "operator/controllers/spgroup/planted.ts",
      "@kubernetes/client-node",
      "no-restricted-imports",
    ],
    [
      "a controller from the Redis client",
      "operator/controllers/spgroup/planted.ts",
      "ioredis",
      "no-restricted-imports",
    ],
  ])("%s", async (_what, path, target, rule) => {
    expect(await rulesBrokenBy(imports(target), path)).toEqual([rule]);
  });
});

it.each([
  ["the kube room uses the Kubernetes client", "operator/kube/planted.ts", "@kubernetes/client-node"],
  ["the state room uses the Redis client", "runtime/state/planted.ts", "ioredis"],
  ["planning reads the API's types", "operator/planning/planted.ts", "../../crds/schema/fields.ts"],
  [
    "a controller asks planning",
    "operator/controllers/spgroup/planted.ts",
    "../../planning/topology/tree.ts",
  ],
  ["a test starts a cluster", "operator/kube/planted.test.ts", "../../e2e/cluster/native.ts"],
])("finds nothing where %s", async (_what, path, target) => {
  expect(await rulesBrokenBy(imports(target), path)).toEqual([]);
});

describe("planning takes time and chance as arguments", () => {
  it.each([
    ["const now = Date.now();", "no-restricted-properties"],
    ["const now = new Date();", "no-restricted-syntax"],
    ["const chance = Math.random();", "no-restricted-properties"],
    ["const home = process.env;", "no-restricted-globals"],
  ])("and may not say %s", async (code, rule) => {
    const named = code.replace("const", "export const");
    expect(await rulesBrokenBy(named, "operator/planning/planted.ts")).toEqual([rule]);
  });
});

it("takes no file longer than 400 lines and no waiver", async () => {
  const waived = `/* eslint-disable max-lines */\n${"export {};\n".repeat(400)}`;
  expect(await rulesBrokenBy(waived, "operator/kube/planted.ts")).toContain("max-lines");
});
