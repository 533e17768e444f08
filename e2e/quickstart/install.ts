/** The chart and the sample, put onto a cluster or taken off it. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Cluster, helm, kubectl } from "../cluster/cluster.ts";
import { step } from "../cluster/progress.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const CHART = join(ROOT, "charts", "csps");
const SAMPLE = join(ROOT, "manifests", "quickstart.yaml");

export const SYSTEM_NAMESPACE = "csps-system";
export const NAMESPACE = "default";
export const DEPLOYMENT = "smollm2";

/** Installs or upgrades the chart. Helm never upgrades CRDs, so they are applied first. */
export async function installChart(cluster: Cluster, registry: string | undefined): Promise<void> {
  await step("installing the operator (helm)", async () => {
    await kubectl(cluster, ["apply", "--server-side", "--force-conflicts", "-f", join(CHART, "crds")]);
    const values = registry === undefined ? [] : ["--set", `imageRegistry=${registry}`];
    await helm(cluster, [
      ...["upgrade", "--install", "csps", CHART, "-n", SYSTEM_NAMESPACE, "--create-namespace"],
      ...["--wait", "--timeout", "9m", ...values],
    ]);
  });
}

/** Restarts the operator: its image has a new content under the same tag. */
export async function restartOperator(cluster: Cluster): Promise<void> {
  const selector = "app.kubernetes.io/component=operator";
  await step("restarting the operator with its new image", async () => {
    await kubectl(cluster, ["-n", SYSTEM_NAMESPACE, "rollout", "restart", "deployment", "-l", selector]);
    await kubectl(cluster, [
      "-n",
      SYSTEM_NAMESPACE,
      "rollout",
      "status",
      "deployment",
      "-l",
      selector,
      "--timeout=480s",
    ]);
  });
}

/** Applies the sample; with a registry its model image comes from there too. */
export async function applySample(cluster: Cluster, registry: string | undefined): Promise<void> {
  const text = await readFile(SAMPLE, "utf8");
  const sample =
    registry === undefined ? text : text.replaceAll("reference: csps/", `reference: ${registry}/csps/`);
  await kubectl(cluster, ["-n", NAMESPACE, "apply", "-f", "-"], sample);
}

/** Deletes the sample and waits until its finalizer and its owned objects are gone. */
export async function removeSample(cluster: Cluster): Promise<void> {
  const target = ["-n", NAMESPACE, "delete", "cspsdeployment", DEPLOYMENT, "--ignore-not-found"];
  await kubectl(cluster, [...target, "--wait", "--timeout=480s"]);
  const pods = ["-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", `csps.io/deployment=${DEPLOYMENT}`];
  await kubectl(cluster, [...pods, "--timeout=480s"]);
}

/** Takes everything off a cluster that stays. */
export async function uninstall(cluster: Cluster): Promise<void> {
  const kinds = await kubectl(cluster, ["api-resources", "--api-group=csps.io", "-o", "name"]);
  await step("removing CSPS from the cluster", async () => {
    if (kinds.includes("cspsdeployments")) await removeSample(cluster);
    await helm(cluster, ["uninstall", "csps", "-n", SYSTEM_NAMESPACE, "--ignore-not-found", "--wait"]);
    await kubectl(cluster, ["delete", "namespace", SYSTEM_NAMESPACE, "--ignore-not-found", "--timeout=480s"]);
    if (existsSync(join(CHART, "crds"))) {
      await kubectl(cluster, ["delete", "--ignore-not-found", "-f", join(CHART, "crds")]);
    }
  });
}
