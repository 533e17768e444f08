import { afterAll, expect, test } from "vitest";
import { startControlPlane } from "./native.ts";
import type { ControlPlane } from "./native.ts";

const running: ControlPlane[] = [];

afterAll(async () => {
  await Promise.all(running.map((plane) => plane.stop()));
});

test("two control planes run beside each other, and one schedules a pod onto a node that a test declared", async () => {
  const [full, bare] = await Promise.all([startControlPlane(), startControlPlane({ controllers: false })]);
  running.push(full, bare);
  const capacity = { cpu: "4", memory: "8Gi", pods: "10" };
  await full.kubectl(
    ["create", "-f", "-"],
    JSON.stringify({ apiVersion: "v1", kind: "Node", metadata: { name: "n1" } }),
  );
  const status = { capacity, allocatable: capacity, conditions: [{ type: "Ready", status: "True" }] };
  await full.kubectl([
    "patch",
    "node",
    "n1",
    "--subresource=status",
    "--type=merge",
    "-p",
    JSON.stringify({ status }),
  ]);
  await full.kubectl(["run", "p", "--image=none"]);
  await full.kubectl(["wait", "pod/p", "--for=jsonpath={.spec.nodeName}=n1", "--timeout=110s"]);
  expect((await bare.kubectl(["get", "pods", "-o", "name"])).trim()).toBe("");
});
