import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "./command.ts";
import { imageOf, layerOf, readSavedImage, writeArchive } from "./imageArchive.ts";

let folder = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "csps-archive-test-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const sha256 = (content: string): string => `sha256:${createHash("sha256").update(content).digest("hex")}`;

interface Index {
  manifests: { digest: string; annotations: Record<string, string> }[];
}

interface Manifest {
  config: { digest: string };
  layers: { digest: string; size: number }[];
}

async function unpack(archive: string): Promise<string> {
  const target = join(folder, "unpacked");
  await mkdir(target);
  await run("tar", ["-C", target, "-xf", archive]);
  return target;
}

test("an archive's manifest leads from the name to blobs that bear their digests", async () => {
  await writeFile(join(folder, "layer.tar"), "layer");
  const layer = await layerOf(join(folder, "layer.tar"));
  expect(layer).toMatchObject({ digest: sha256("layer"), size: 5 });
  await writeArchive(join(folder, "out.tar"), join(folder, "layout"), [
    imageOf("docker.io/a/b:1", [layer], ["/x"]),
  ]);
  const root = await unpack(join(folder, "out.tar"));
  const blob = (digest: string): Promise<string> =>
    readFile(join(root, "blobs", digest.replace(":", "/")), "utf8");
  const index = JSON.parse(await readFile(join(root, "index.json"), "utf8")) as Index;
  expect(index.manifests[0]?.annotations["io.containerd.image.name"]).toBe("docker.io/a/b:1");
  const manifest = JSON.parse(await blob(index.manifests[0]?.digest ?? "")) as Manifest;
  expect(sha256(await blob(manifest.config.digest))).toBe(manifest.config.digest);
  expect(await blob(manifest.layers[0]?.digest ?? "")).toBe("layer");
});

test("layers that the nodes have are named with their size and left out of the archive", async () => {
  const diffIds = [sha256("base"), sha256("top")];
  const config = JSON.stringify({ rootfs: { type: "layers", diff_ids: diffIds } });
  await writeFile(join(folder, "config.json"), config);
  await writeFile(join(folder, "0.tar"), "base");
  await writeFile(join(folder, "1.tar"), "top");
  await writeFile(
    join(folder, "manifest.json"),
    JSON.stringify([{ Config: "config.json", Layers: ["0.tar", "1.tar"] }]),
  );
  const image = await readSavedImage(folder, "docker.io/a/b:1", new Map([[sha256("base"), 4]]));
  await writeArchive(join(folder, "out.tar"), join(folder, "layout"), [image]);
  const files = await run("tar", ["-tf", join(folder, "out.tar")]);
  expect(files).toContain(sha256("top").replace(":", "/"));
  expect(files).not.toContain(sha256("base").replace(":", "/"));
  const root = await unpack(join(folder, "out.tar"));
  const index = JSON.parse(await readFile(join(root, "index.json"), "utf8")) as Index;
  const manifestFile = join(root, "blobs", (index.manifests[0]?.digest ?? "").replace(":", "/"));
  const manifest = JSON.parse(await readFile(manifestFile, "utf8")) as Manifest;
  expect(manifest.layers.map(({ digest, size }) => [digest, size])).toEqual([
    [sha256("base"), 4],
    [sha256("top"), 3],
  ]);
});
