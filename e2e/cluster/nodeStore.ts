/**
 * The containerd store that every node starts with: Kubernetes' own images and our base images, unpacked once.
 * A node gets a copy made of hard links, in a second and at no disk space: layers are immutable files. And since
 * they are the same files on every node, the page cache holds one copy of the engine's libraries for all.
 */
import { chmod, copyFile, cp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type BaseTree, ensureBaseTrees, RUN_BASES } from "./bases.ts";
import { COREDNS_VERSION, ensureBinaries, KUBERNETES_VERSION } from "./binaries.ts";
import { cachedFolder, contentKey } from "./cache.ts";
import { run } from "./command.ts";
import { type ArchivedImage, imageOf, type Layer, layerOf, writeArchive } from "./imageArchive.ts";
import { ensureNodeTree } from "./nodeImage.ts";
import { step } from "./progress.ts";

export interface NodeStore {
  /** Folder to copy to a node's /var/lib/containerd. */
  folder: string;
  /** Layers that every copy has: digest to size. */
  known: ReadonlyMap<string, number>;
}

const IMPORT = join(import.meta.dirname, "scripts", "import-images.sh");
/** What containerd changes in place; all else in its store is written once. */
const DATABASES = [
  "io.containerd.metadata.v1.bolt/meta.db",
  "io.containerd.snapshotter.v1.overlayfs/metadata.db",
];
const PROGRAMS = [
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "etcd",
  "coredns",
  "kube-proxy",
  "pause",
];

/** References of the images that kubeadm wants, by program name. */
async function requiredImages(binaries: string, folder: string): Promise<Map<string, string[]>> {
  const config = join(folder, "kubeadm.yaml");
  const dns = { imageTag: COREDNS_VERSION };
  const kind = { apiVersion: "kubeadm.k8s.io/v1beta4", kind: "ClusterConfiguration" };
  await writeFile(config, JSON.stringify({ ...kind, kubernetesVersion: KUBERNETES_VERSION, dns }));
  const list = await run(join(binaries, "kubeadm"), ["config", "images", "list", "--config", config]);
  const references = new Map(
    list
      .trim()
      .split("\n")
      .map((reference) => [basename(reference).split(":")[0] ?? "", [reference]]),
  );
  // kind's configuration of containerd names this one; kubeadm may want a later patch of it.
  references.get("pause")?.push("registry.k8s.io/pause:3.10");
  references.set("nodenet", ["docker.io/csps-base/nodenet:dev"]);
  return references;
}

/** A tree with one static program; kube-proxy also gets nft and the libraries that it is linked with. */
async function programLayer(program: string, binaries: string, tree: string, folder: string): Promise<Layer> {
  const root = join(folder, program);
  await mkdir(join(root, "usr", "local", "bin"), { recursive: true });
  await mkdir(join(root, "tmp"));
  await cp(join(binaries, program), join(root, "usr", "local", "bin", program));
  if (program === "kube-proxy") {
    await mkdir(join(root, "run"));
    const linked = await run("chroot", [tree, "ldd", "/usr/sbin/nft"]);
    for (const file of ["/usr/sbin/nft", ...(linked.match(/\/[^ ]+/g) ?? [])]) {
      await mkdir(dirname(join(root, file)), { recursive: true });
      await copyFile(join(tree, file), join(root, file));
      await chmod(join(root, file), 0o755);
    }
  }
  await run("tar", ["-C", root, "--numeric-owner", "--owner=0", "--group=0", "-cf", `${root}.tar`, "."]);
  await rm(root, { recursive: true });
  return layerOf(`${root}.tar`);
}

async function build(target: string, nodeTar: string, bases: readonly BaseTree[]): Promise<void> {
  const binaries = await ensureBinaries();
  const work = join(target, "work");
  const tree = join(target, "tree");
  await mkdir(work);
  await mkdir(tree);
  await run("tar", ["-C", tree, "--numeric-owner", "-xf", nodeTar]);
  const references = await requiredImages(binaries, work);
  const images: ArchivedImage[] = [];
  for (const program of [...PROGRAMS, "nodenet"]) {
    const layer = await programLayer(program, binaries, tree, work);
    for (const reference of references.get(program) ?? []) {
      images.push(imageOf(reference, [layer], [`/usr/local/bin/${program}`]));
    }
  }
  const known: [string, number][] = [];
  for (const base of bases) {
    known.push([base.layer.digest, base.layer.size]);
    images.push(imageOf(`docker.io/${base.tag}`, [base.layer], []));
  }
  await writeArchive(join(work, "images.tar"), join(work, "layout"), images);
  await run(IMPORT, [tree, work]);
  await rename(join(tree, "var", "lib", "containerd"), join(target, "containerd"));
  await rm(join(target, "containerd", "tmpmounts"), { recursive: true, force: true });
  await writeFile(join(target, "known.json"), JSON.stringify(known));
  await rm(tree, { recursive: true });
  await rm(work, { recursive: true });
}

/** The store, made on first use. */
export async function ensureNodeStore(): Promise<NodeStore> {
  // The first compiles for minutes, the second mostly downloads.
  const [nodeTar, bases] = await Promise.all([ensureNodeTree(), ensureBaseTrees(RUN_BASES)]);
  const texts = [nodeTar, ...bases.map((base) => base.tag), COREDNS_VERSION].map((text) =>
    text.split("/").slice(-2).join("/"),
  );
  const key = await contentKey({ paths: [IMPORT], texts });
  const folder = await cachedFolder("node-store", key, (target) =>
    step("unpacking Kubernetes' images and the base images for the nodes", () =>
      build(target, nodeTar, bases),
    ),
  );
  const known = JSON.parse(await readFile(join(folder, "known.json"), "utf8")) as [string, number][];
  return { folder: join(folder, "containerd"), known: new Map(known) };
}

/** Copies the store for one node. Databases are copied, everything else is linked. */
export async function copyStore(store: NodeStore, target: string): Promise<void> {
  await rm(target, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true });
  await run("cp", ["-al", store.folder, target]);
  for (const database of DATABASES) {
    const file = join(target, database);
    await copyFile(file, `${file}.copy`);
    await rename(`${file}.copy`, file);
  }
}
