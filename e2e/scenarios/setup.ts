/**
 * The scenarios' cluster is made by the quickstart itself, so that what a newcomer runs is what is tested.
 * CSPS_KEEP_CLUSTER=1 leaves it running for a look.
 */
import type { TestProject } from "vitest/node";
import { up } from "../cluster/cluster.ts";
import { run } from "../cluster/command.ts";
import { DEPLOYMENT, NAMESPACE, SYSTEM_NAMESPACE } from "../quickstart/install.ts";
import { join } from "node:path";

const NAME = "csps-test";
const SCRIPT = join(import.meta.dirname, "..", "quickstart.ts");
const MINUTE = 60_000;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const began = Date.now();
  const output = await run(process.execPath, [SCRIPT, "--name", NAME], {
    timeoutMs: 45 * MINUTE,
    onStderr: (text) => process.stderr.write(text),
  });
  console.log(output);
  const cluster = await up(NAME);
  project.provide("world", {
    kubectl: cluster.kubectlPath,
    kubeconfig: cluster.kubeconfigPath,
    cluster: NAME,
    operatorNamespace: SYSTEM_NAMESPACE,
    namespace: NAMESPACE,
    deployment: DEPLOYMENT,
    quickstart: { output, tookMs: Date.now() - began },
  });
  return async () => {
    if (process.env["CSPS_KEEP_CLUSTER"] === "1") return;
    await run(process.execPath, [SCRIPT, "--name", NAME, "--down"], { timeoutMs: 9 * MINUTE });
  };
}
