/**
 * Kubernetes, etcd, CoreDNS, kind and helm, built from the Go module in `toolchain/`, pinned by go.mod and
 * go.sum. One module, so that a package that several programs share is compiled once.
 */
import { existsSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { cachedFolder, cacheRoot, contentKey } from "./cache.ts";
import { run, succeeds } from "./command.ts";
import { ensureGo } from "./goToolchain.ts";
import { step } from "./progress.ts";

export const KUBERNETES_VERSION = "v1.34.4";
export const COREDNS_VERSION = "v1.12.4";
export const TOOLCHAIN = join(import.meta.dirname, "toolchain");

const KUBERNETES = "k8s.io/kubernetes/cmd";

/** Groups in build order, largest first; one `go build` each, so that progress can be told. */
const GROUPS: readonly { title: string; packages: readonly string[] }[] = [
  {
    title: "etcd, kube-apiserver, kube-controller-manager, kube-scheduler",
    packages: [
      "go.etcd.io/etcd/server/v3",
      `${KUBERNETES}/kube-apiserver`,
      `${KUBERNETES}/kube-controller-manager`,
      `${KUBERNETES}/kube-scheduler`,
    ],
  },
  { title: "kubelet", packages: [`${KUBERNETES}/kubelet`] },
  {
    title: "kubeadm, kubectl, kube-proxy",
    packages: [`${KUBERNETES}/kubeadm`, `${KUBERNETES}/kubectl`, `${KUBERNETES}/kube-proxy`],
  },
  { title: "kind and the node daemons", packages: ["sigs.k8s.io/kind", "./cmd/nodenet", "./cmd/pause"] },
  { title: "CoreDNS", packages: ["./cmd/coredns"] },
  { title: "helm", packages: ["helm.sh/helm/v3/cmd/helm"] },
];

/** Linker flags that give the programs their version; kubeadm and kubelet compare theirs. */
export function linkerFlags(version: string): string {
  const [major, minor] = version.slice(1).split(".");
  const values = {
    gitVersion: version,
    gitMajor: major,
    gitMinor: minor,
    gitTreeState: "clean",
    gitCommit: "0".repeat(40),
    buildDate: "2026-01-01T00:00:00Z",
  };
  const flags = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].flatMap((path) =>
    Object.entries(values).map(([name, value]) => `-X ${path}.${name}=${value ?? ""}`),
  );
  return ["-s -w", ...flags].join(" ");
}

const MINUTE = 60_000;

async function build(
  target: string,
  groups: readonly { title: string; packages: readonly string[] }[],
): Promise<void> {
  const go = await ensureGo();
  const environment = { CGO_ENABLED: "0", GOFLAGS: "-buildvcs=false", GOTOOLCHAIN: "local" };
  const common = { cwd: TOOLCHAIN, env: environment, timeoutMs: 45 * MINUTE };
  await step("fetching Go modules", () => run(go, ["mod", "download"], common));
  for (const [index, group] of groups.entries()) {
    const flags = `-ldflags=${linkerFlags(KUBERNETES_VERSION)}`;
    await step(`compiling ${group.title} (${index + 1} of ${groups.length})`, () =>
      run(go, ["build", "-trimpath", flags, "-o", `${target}/`, ...group.packages], common),
    );
  }
  if (existsSync(join(target, "server"))) await rename(join(target, "server"), join(target, "etcd"));
}

async function keyOf(groups: unknown): Promise<string> {
  const texts = [process.arch, KUBERNETES_VERSION, JSON.stringify(groups)];
  return contentKey({ paths: [TOOLCHAIN], texts });
}

/** Folder with etcd, kube-apiserver, …, kubectl, kind and helm; built on first use (minutes, once). */
export async function ensureBinaries(): Promise<string> {
  return cachedFolder("binaries", await keyOf(GROUPS), (target) => build(target, GROUPS));
}

const CLIENTS: Readonly<Record<string, string>> = {
  kubectl: `${KUBERNETES}/kubectl`,
  kind: "sigs.k8s.io/kind",
  helm: "helm.sh/helm/v3/cmd/helm",
};

export type Client = "kubectl" | "kind" | "helm";

/** Paths of client programs: those on the PATH, else our own; only what is asked for is built. */
export async function ensureClients(names: readonly Client[]): Promise<Record<Client, string>> {
  const found: Record<Client, string> = { kubectl: "kubectl", kind: "kind", helm: "helm" };
  const built = join(cacheRoot(), "binaries", await keyOf(GROUPS));
  for (const name of names) {
    if (existsSync(join(built, name))) found[name] = join(built, name);
    else if (!(await succeeds(name, name === "kubectl" ? ["version", "--client"] : ["version"]))) {
      const groups = [{ title: name, packages: [CLIENTS[name] ?? name] }];
      const folder = await cachedFolder(`binary-${name}`, await keyOf(groups), (target) =>
        build(target, groups),
      );
      found[name] = join(folder, name);
    }
  }
  return found;
}
