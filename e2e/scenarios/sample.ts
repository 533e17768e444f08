/** Deployments of the quickstart's model beside the one that the quickstart serves, which has all GPUs. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { load } from "js-yaml";
import { demand, eventually } from "./eventually.ts";
import { conditionOf, deployment, kubectl, world } from "./world.ts";

const MANIFEST = join(import.meta.dirname, "..", "..", "manifests", "quickstart.yaml");

/** A rank on a CPU alone. */
export const CPU_RANK = {
  resources: { requests: { cpu: "50m", memory: "700Mi" }, limits: { memory: "1536Mi" } },
  terminationGracePeriodSeconds: 30,
};

/** The sample under another name, with these fields of its spec replaced. */
export async function applySample(name: string, spec: Readonly<Record<string, unknown>>): Promise<void> {
  const object = load(await readFile(MANIFEST, "utf8")) as {
    metadata: { name: string };
    spec: Record<string, unknown>;
  };
  object.metadata.name = name;
  Object.assign(object.spec, spec);
  await kubectl(["apply", "--server-side", "-n", world.namespace, "-f", "-"], JSON.stringify(object));
}

export async function removeSample(name: string): Promise<void> {
  const target = ["cspsdeployment", name, "-n", world.namespace, "--ignore-not-found"];
  await kubectl(["delete", ...target, "--wait=true", "--timeout=240s"]);
}

/** Waits until so many groups and ranks serve, as in `1/1 groups, 3/3 ranks`. */
export async function untilSize(name: string, size: string, deadlineMs: number): Promise<void> {
  await eventually(`${name} to have ${size}`, deadlineMs, async () => {
    const now = await deployment(name);
    const { groupsReady = "?", decodeRanksReady = "?" } = now.status;
    const has = `${groupsReady} groups, ${decodeRanksReady} ranks`;
    const said = ["AutoscalingActive", "EnginesReady"].map((type) => conditionOf(now, type).message);
    demand(has === size, `${has}; ${said.join("; ")}`);
  });
}
