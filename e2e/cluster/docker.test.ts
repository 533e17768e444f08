import { expect, test } from "vitest";
import { linkerFlags } from "./binaries.ts";
import { defaultDevice, mayRaiseLimits } from "./docker.ts";
import { goMinor } from "./goToolchain.ts";

test("a bounding set without CAP_SYS_RESOURCE is told from a full one", () => {
  expect(mayRaiseLimits("CapEff:\t0\nCapBnd:\t000001fffeffffff\n")).toBe(false);
  expect(mayRaiseLimits("CapBnd:\t000001ffffffffff\n")).toBe(true);
  expect(mayRaiseLimits("")).toBe(false);
});

test("the device of the default route is found, and its absence too", () => {
  expect(defaultDevice("default via 10.0.0.1 dev eth0 proto dhcp metric 100\n")).toBe("eth0");
  expect(defaultDevice("")).toBeUndefined();
});

test("Go's minor version is read from what `go version` prints", () => {
  expect(goMinor("go version go1.26.8 linux/amd64")).toBe(26);
  expect(goMinor("")).toBe(0);
});

test("the programs are told their version where Kubernetes looks for it", () => {
  const flags = linkerFlags("v1.34.4");
  expect(flags).toContain("-X k8s.io/component-base/version.gitVersion=v1.34.4");
  expect(flags).toContain("-X k8s.io/client-go/pkg/version.gitMinor=34");
});
