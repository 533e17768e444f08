/** Our images: built from the Dockerfiles, on public bases or on our own, and loaded onto a cluster's workers. */
import { readFileSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BUILD_BASES, type BaseName, ensureBaseTrees, importBaseImages } from "./bases.ts";
import { cachedFolder, contentKey } from "./cache.ts";
import { type Cluster, clusterFolder } from "./cluster.ts";
import { run } from "./command.ts";
import { readSavedImage, writeArchive } from "./imageArchive.ts";
import { step } from "./progress.ts";
import { ensureModelFile } from "./pythonEnv.ts";
import { registryAnswers } from "./registry.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const MINUTE = 60_000;
/** Tells our images from others in the same Docker. */
const LABEL = "csps.io/built-by=quickstart";

interface ImageRecipe {
  dockerfile: string;
  /** Build arguments of the Dockerfile that name images, and our own for them where public ones cannot be had. */
  bases: Readonly<Record<string, BaseName>>;
  context?: () => Promise<string>;
}

const RECIPES = {
  operator: { dockerfile: "operator/Dockerfile", bases: { BASE: "node" } },
  gateway: { dockerfile: "runtime/gateway/Dockerfile", bases: { BASE: "node" } },
  redis: { dockerfile: "runtime/state/Dockerfile", bases: { BASE: "redis" } },
  "engine-cpu": {
    dockerfile: "runtime/engine/Dockerfile.cpu",
    bases: { BASE: "engine", COMPILER: "compiler" },
  },
  "model-smollm2": {
    dockerfile: "e2e/images/model.Dockerfile",
    bases: { BASE: "busybox" },
    context: async () => dirname(await ensureModelFile()),
  },
} as const satisfies Record<string, ImageRecipe>;

export type ImageName = keyof typeof RECIPES;

export const IMAGE_NAMES = Object.keys(RECIPES) as ImageName[];

const VERSION = (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;

/** `csps/<name>:<version>`, as the chart and the samples name it. */
export function imageReference(name: ImageName): string {
  return `csps/${name}:${VERSION}`;
}

/** Builds images into the local Docker; only what changed takes time. */
export async function buildImages(names: readonly ImageName[] = IMAGE_NAMES): Promise<void> {
  const bases = (await registryAnswers()) ? [] : await ensureBaseTrees(BUILD_BASES);
  await importBaseImages(bases);
  const programs = names.filter((name) => name === "operator" || name === "gateway");
  if (programs.length > 0) {
    await step(`bundling ${programs.join(" and ")}`, () =>
      run(process.execPath, ["operator/bin/build.ts", ...programs], { cwd: ROOT }),
    );
  }
  for (const name of names) {
    const recipe: ImageRecipe = RECIPES[name];
    const baseArguments = Object.entries(recipe.bases).flatMap(([argument, wanted]) => {
      const base = bases.find((candidate) => candidate.name === wanted);
      return base === undefined ? [] : ["--build-arg", `${argument}=${base.tag}`];
    });
    const context = (await recipe.context?.()) ?? ROOT;
    const dockerfile = join(ROOT, recipe.dockerfile);
    await step(`building image ${imageReference(name)}`, () =>
      run(
        "docker",
        [
          "build",
          "-q",
          "--label",
          LABEL,
          "-t",
          imageReference(name),
          "-f",
          dockerfile,
          ...baseArguments,
          context,
        ],
        {
          timeoutMs: 30 * MINUTE,
        },
      ),
    );
  }
  // What these tags named before.
  await run("docker", ["image", "prune", "--force", "--filter", `label=${LABEL}`]);
}

/** The image as an archive without the layers that the cluster's nodes have; kept by the image's id. */
async function archive(reference: string, id: string, known: ReadonlyMap<string, number>): Promise<string> {
  const key = await contentKey({ texts: [reference, id, ...known.keys()] });
  const name = `archive-${reference.replace(/[^a-z0-9]+/g, "-")}`;
  const folder = await cachedFolder(name, key, async (target) => {
    const saved = join(target, "saved");
    await mkdir(saved);
    await run("bash", [
      "-euo",
      "pipefail",
      "-c",
      'docker save "$1" | tar -C "$2" -xf -',
      "save",
      reference,
      saved,
    ]);
    const image = await readSavedImage(saved, `docker.io/${reference}`, known);
    await writeArchive(join(target, "image.tar"), join(target, "layout"), [image]);
    await rm(saved, { recursive: true });
    await rm(join(target, "layout"), { recursive: true });
  });
  return join(folder, "image.tar");
}

async function idOf(reference: string): Promise<string> {
  return (await run("docker", ["image", "inspect", "-f", "{{.Id}}", reference])).trim();
}

/** Makes what `loadImages` hands to nodes that have the layers `known`; it needs no cluster yet. */
export async function archiveImages(
  known: ReadonlyMap<string, number>,
  names: readonly ImageName[] = IMAGE_NAMES,
): Promise<void> {
  await step("archiving what the nodes do not have of the images", async () => {
    for (const reference of names.map(imageReference)) await archive(reference, await idOf(reference), known);
  });
}

/** Loads images onto the workers of a cluster that we made; returns those that were not there in this very form. */
export async function loadImages(
  cluster: Cluster,
  names: readonly ImageName[] = IMAGE_NAMES,
): Promise<ImageName[]> {
  const renewed: ImageName[] = [];
  const record = join(clusterFolder(cluster.name), "loaded.json");
  const loaded = JSON.parse(await readFile(record, "utf8").catch(() => "{}")) as Record<string, string>;
  for (const name of names) {
    const reference = imageReference(name);
    const id = await idOf(reference);
    if (loaded[reference] === id) continue;
    await step(`loading ${reference} onto ${cluster.nodes.length - 1} workers`, async () => {
      const file = await archive(reference, id, cluster.knownLayers);
      const command = ["ctr", "-n", "k8s.io", "images", "import", "--all-platforms", "--digests", "-"];
      await Promise.all(
        cluster.nodes
          .slice(1)
          .map((node) => run("docker", ["exec", "-i", node, ...command], { inputFile: file })),
      );
    });
    loaded[reference] = id;
    await writeFile(record, JSON.stringify(loaded));
    renewed.push(name);
  }
  return renewed;
}

/** Pushes images under another prefix, for a cluster that pulls: `<prefix>/operator:<version>` and so on. */
export async function pushImages(prefix: string, names: readonly ImageName[] = IMAGE_NAMES): Promise<void> {
  for (const name of names) {
    const target = `${prefix}/${name}:${VERSION}`;
    await run("docker", ["tag", imageReference(name), target]);
    await step(`pushing ${target}`, () => run("docker", ["push", "-q", target], { timeoutMs: 30 * MINUTE }));
  }
}
