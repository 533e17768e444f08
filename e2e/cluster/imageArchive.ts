/**
 * Image archives (OCI image layout in a tar) for `ctr images import`, written by hand so that layers which the
 * node has already can be left out: containerd looks a layer up by digest before it misses it in the archive.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { link, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { run } from "./command.ts";

/** A layer: an uncompressed tar, named by its SHA-256. */
export interface Layer {
  /** `sha256:<hex>` */
  digest: string;
  size: number;
  /** The tar; absent when the receiving store has it already. */
  file?: string;
}

export interface ArchivedImage {
  /** Full reference with registry host, for example `docker.io/csps/gateway:0.1.0`. */
  reference: string;
  /** Bytes of the image's configuration. */
  config: string;
  layers: readonly Layer[];
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

function digestOf(content: string): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

/** The layer that a tar file is. */
export async function layerOf(file: string): Promise<Layer> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return { digest: `sha256:${hash.digest("hex")}`, size: (await stat(file)).size, file };
}

/** An image of given layers that starts `entrypoint`. */
export function imageOf(
  reference: string,
  layers: readonly Layer[],
  entrypoint: readonly string[],
): ArchivedImage {
  const config = JSON.stringify({
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: "linux",
    config: {
      Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
      Entrypoint: entrypoint,
    },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.digest) },
  });
  return { reference, config, layers };
}

async function place(file: string, target: string): Promise<void> {
  await link(file, target).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  });
}

/** Writes the archive of `images` to `path`, by way of `folder`, which must be new and on the layers' file system. */
export async function writeArchive(
  path: string,
  folder: string,
  images: readonly ArchivedImage[],
): Promise<void> {
  const blobs = join(folder, "blobs", "sha256");
  await mkdir(blobs, { recursive: true });
  const store = async (mediaType: string, content: string): Promise<Descriptor> => {
    const digest = digestOf(content);
    await writeFile(join(blobs, digest.slice("sha256:".length)), content);
    return { mediaType, digest, size: Buffer.byteLength(content) };
  };
  const manifests: Descriptor[] = [];
  for (const image of images) {
    for (const layer of image.layers) {
      if (layer.file !== undefined)
        await place(layer.file, join(blobs, layer.digest.slice("sha256:".length)));
    }
    const manifest = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: await store("application/vnd.oci.image.config.v1+json", image.config),
      layers: image.layers.map(({ digest, size }) => ({
        mediaType: "application/vnd.oci.image.layer.v1.tar",
        digest,
        size,
      })),
    };
    const stored = await store(manifest.mediaType, JSON.stringify(manifest));
    manifests.push({ ...stored, annotations: { "io.containerd.image.name": image.reference } });
  }
  await writeFile(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await writeFile(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  await run("tar", ["-C", folder, "-cf", path, "oci-layout", "index.json", "blobs"]);
}

interface SavedManifest {
  Config: string;
  Layers: string[];
}

/**
 * Reads what `docker save` of one image wrote to `folder`. Layers that `known` (digest to size) names come back
 * without a file.
 */
export async function readSavedImage(
  folder: string,
  reference: string,
  known: ReadonlyMap<string, number>,
): Promise<ArchivedImage> {
  const [manifest] = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as SavedManifest[];
  if (manifest === undefined) throw new Error(`docker save wrote no image for ${reference}`);
  const config = await readFile(join(folder, manifest.Config), "utf8");
  const digests = (JSON.parse(config) as { rootfs: { diff_ids: string[] } }).rootfs.diff_ids;
  const layers = await Promise.all(
    digests.map(async (digest, index): Promise<Layer> => {
      const size = known.get(digest);
      if (size !== undefined) return { digest, size };
      const file = join(folder, manifest.Layers[index] ?? "");
      return { digest, size: (await stat(file)).size, file };
    }),
  );
  return { reference, config, layers };
}
