import { expect, test } from "vitest";
import { parseOptions } from "./options.ts";

test("without options a cluster is made under the default name", () => {
  expect(parseOptions([], {})).toEqual({ help: false, down: false, name: "csps-quickstart" });
});

test("a context alone names a cluster of the present kubeconfig", () => {
  expect(parseOptions(["--context", "lab"], { KUBECONFIG: "/k" }).named).toEqual({
    kubeconfig: "/k",
    context: "lab",
  });
});

test("a kubeconfig in the environment alone does not name a cluster", () => {
  expect(parseOptions([], { KUBECONFIG: "/k" }).named).toBeUndefined();
});

test("unknown options, bad names and --push without a cluster of the user's are refused with a reason", () => {
  expect(() => parseOptions(["--dwon"], {})).toThrow("--dwon");
  expect(() => parseOptions(["--name", "A_b"], {})).toThrow("lower-case");
  expect(() => parseOptions(["--push", "ghcr.io/me"], {})).toThrow("--kubeconfig");
});

test("a trailing slash of the registry is dropped", () => {
  expect(parseOptions(["--context", "lab", "--push", "ghcr.io/me/"], {}).push).toBe("ghcr.io/me");
});
