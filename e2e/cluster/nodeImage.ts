/** The node image of kind for machines without an image registry: Debian, containerd, kind's files, Kubernetes. */
import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ensureBinaries, KUBERNETES_VERSION, TOOLCHAIN } from "./binaries.ts";
import { contentKey } from "./cache.ts";
import { run, succeeds } from "./command.ts";
import { ensureGo } from "./goToolchain.ts";
import { step } from "./progress.ts";
import { ensureRootfs } from "./rootfs.ts";

const SCRIPT = join(import.meta.dirname, "scripts", "finish-node-tree.sh");
const MANIFESTS = join(import.meta.dirname, "manifests");

/** What kind's own base image has, by Debian's names. */
const PACKAGES = [
  "systemd systemd-sysv dbus conntrack iptables nftables iproute2 ethtool mount kmod libseccomp2 pigz",
  "ca-certificates curl jq procps socat openssl containerd runc containernetworking-plugins",
]
  .join(" ")
  .split(" ");

/** kind's files for nodes, in its Go module. */
async function kindFiles(): Promise<string> {
  const go = await ensureGo();
  const folder = await run(go, ["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind"], { cwd: TOOLCHAIN });
  return join(folder.trim(), "images", "base", "files");
}

/** Tar of a node's file tree. */
export async function ensureNodeTree(): Promise<string> {
  const binaries = await ensureBinaries();
  const key = await contentKey({
    paths: [SCRIPT, MANIFESTS],
    texts: [basename(binaries), KUBERNETES_VERSION],
  });
  return ensureRootfs({
    name: "kubernetes-node",
    suite: "bookworm",
    packages: PACKAGES,
    finish: {
      key,
      apply: async (tree) => {
        await run(SCRIPT, [tree, await kindFiles(), binaries, MANIFESTS, KUBERNETES_VERSION]);
      },
    },
  });
}

/** Tag of the node image in Docker; imported from the cache when it is not there. */
export async function ensureNodeImage(): Promise<string> {
  const tar = await ensureNodeTree();
  const tag = `csps-base/kubernetes-node:${basename(dirname(tar))}`;
  if (await succeeds("docker", ["image", "inspect", tag])) return tag;
  await step("importing the node image into Docker", async () => {
    await run("docker", ["import", tar, `${tag}-tree`]);
    const recipe = [
      `FROM ${tag}-tree`,
      "ENV container=docker PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "STOPSIGNAL SIGRTMIN+3",
      'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
    ].join("\n");
    const context = join(dirname(tar), "empty");
    await mkdir(context, { recursive: true });
    await run("docker", ["build", "-q", "-t", tag, "-f", "-", context], {
      input: recipe,
      env: { DOCKER_BUILDKIT: "0" },
    });
  });
  return tag;
}
