/**
 * Base images of our Dockerfiles. With an image registry these are the public ones that the Dockerfiles name;
 * without, they are made here from Debian packages, the npm package `node` and wheels.
 */
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { run, succeeds } from "./command.ts";
import { type Layer, layerOf } from "./imageArchive.ts";
import { step } from "./progress.ts";
import { downloadWheels, pipPython } from "./pythonEnv.ts";
import { ensureRootfs, type RootfsRecipe } from "./rootfs.ts";

const ROOT = join(import.meta.dirname, "..", "..");

/** What Debian does not package of the engine's requirements. */
const ENGINE_WHEELS = ["gguf==0.19.0"];
const ENGINE_PACKAGES = [
  "python3-torch libopenblas0-openmp python3-numpy python3-aiohttp python3-pydantic python3-redis",
  "python3-prometheus-client python3-safetensors python3-yaml python3-tqdm",
]
  .join(" ")
  .split(" ");

/** Tells the Dockerfile that the packages are there already, so that it asks no package index. */
const ENGINE_MARKER = "etc/csps-engine-packages";

async function addEngineWheels(tree: string): Promise<void> {
  const folder = join(tree, "tmp", "wheels");
  await mkdir(folder, { recursive: true });
  const wheels = await downloadWheels(ENGINE_WHEELS, folder);
  const python = await pipPython();
  // Where Debian's Python looks for packages that Debian did not bring.
  const version = (
    await run("chroot", [tree, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
  ).trim();
  const target = join(tree, "usr", "local", "lib", `python${version}`, "dist-packages");
  for (const wheel of wheels) await run(python, ["-m", "zipfile", "-e", wheel, target]);
  await rm(folder, { recursive: true });
  const packages = join(tree, "usr", "lib", "python3", "dist-packages");
  const torchPrograms = join(packages, "torch", "bin");
  for (const name of await readdir(torchPrograms)) {
    if (name.startsWith("test_")) await rm(join(torchPrograms, name));
  }
  await rm(join(tree, "usr", "lib", "libtorch-test"), { recursive: true, force: true });
  const modules =
    "torch, torch.distributed, gguf, aiohttp, pydantic, redis, safetensors.torch, prometheus_client";
  await run("chroot", [tree, "python3", "-c", `import ${modules}`]);
  await writeFile(join(tree, ENGINE_MARKER), `${ENGINE_WHEELS.join("\n")}\n`);
}

async function addNode(tree: string): Promise<void> {
  const target = join(tree, "usr", "local", "bin");
  await mkdir(target, { recursive: true });
  await cp(join(ROOT, "node_modules", "node", "bin", "node"), join(target, "node"), { dereference: true });
  await run("chroot", [tree, "/usr/local/bin/node", "--version"]);
}

/** Reduces the tree to one static program with its names: something that can `cp`, and no more. */
async function keepBusyboxOnly(tree: string): Promise<void> {
  const script = `
    cd "$1"
    busybox=$(mktemp); cp -L usr/bin/busybox "$busybox"
    find . -mindepth 1 -delete
    mkdir -p bin tmp; chmod 1777 tmp
    install -m 755 "$busybox" bin/busybox; rm "$busybox"
    for name in $(bin/busybox --list); do [ -e "bin/$name" ] || ln -s busybox "bin/$name"; done
  `;
  await run("bash", ["-euc", script, "keep", tree]);
}

export type BaseName = "busybox" | "node" | "redis" | "engine" | "compiler";

async function recipe(name: BaseName): Promise<RootfsRecipe> {
  switch (name) {
    case "busybox": {
      const finish = { key: "busybox only", apply: keepBusyboxOnly };
      return { name: "busybox", suite: "trixie", packages: ["busybox-static"], finish };
    }
    case "node": {
      const manifest = JSON.parse(
        await readFile(join(ROOT, "node_modules", "node", "package.json"), "utf8"),
      ) as {
        version: string;
      };
      const finish = { key: `node ${manifest.version}`, apply: addNode };
      return { name: "node", suite: "trixie", packages: ["ca-certificates", "libatomic1"], finish };
    }
    case "redis":
      return { name: "redis", suite: "trixie", packages: ["redis-server", "redis-tools"] };
    case "engine": {
      const finish = { key: `${ENGINE_WHEELS.join(" ")} without test programs`, apply: addEngineWheels };
      return { name: "engine", suite: "trixie", packages: ENGINE_PACKAGES, bytecode: true, finish };
    }
    case "compiler":
      return { name: "compiler", suite: "trixie", packages: ["python3", "gcc", "libc6-dev"] };
  }
}

/** What containers run on. The compiler is a stage of a build and comes to no node. */
export const RUN_BASES: readonly BaseName[] = ["busybox", "node", "redis", "engine"];
export const BUILD_BASES: readonly BaseName[] = [...RUN_BASES, "compiler"];

export interface BaseTree {
  name: BaseName;
  /** Plain tar of the whole tree: the image's only layer. */
  tar: string;
  /** Digest and size of that layer. */
  layer: Layer;
  /** `csps-base/<name>:<start of the digest>`: another tree of the same recipe is another image. */
  tag: string;
}

/** The layer that a cached tar is; its digest is computed once and kept beside it. */
async function cachedLayer(tar: string): Promise<Layer> {
  const record = join(dirname(tar), "layer.json");
  const kept = await readFile(record, "utf8").catch(() => undefined);
  if (kept !== undefined) return { ...(JSON.parse(kept) as Layer), file: tar };
  const layer = await layerOf(tar);
  await writeFile(record, JSON.stringify({ digest: layer.digest, size: layer.size }));
  return layer;
}

/** The trees of base images, made on first use. Needs no Docker. */
export async function ensureBaseTrees(names: readonly BaseName[]): Promise<BaseTree[]> {
  const trees: BaseTree[] = [];
  for (const name of names) {
    const tar = await ensureRootfs(await recipe(name));
    const layer = await cachedLayer(tar);
    trees.push({ name, tar, layer, tag: `csps-base/${name}:${layer.digest.slice("sha256:".length, 23)}` });
  }
  return trees;
}

/** Imports those trees into Docker that it does not have yet. */
export async function importBaseImages(trees: readonly BaseTree[]): Promise<void> {
  for (const tree of trees) {
    if (await succeeds("docker", ["image", "inspect", tree.tag])) continue;
    await step(`importing base image ${tree.name} into Docker`, () =>
      run("docker", ["import", tree.tar, tree.tag]),
    );
  }
}
