/**
 * File trees for container images where no image registry answers: debootstrap, then apt in a chroot. Each is
 * kept in the cache as one tar, which `docker import` turns into a base image.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { cachedFolder, contentKey } from "./cache.ts";
import { run } from "./command.ts";
import { ensurePackages } from "./debian.ts";
import { step } from "./progress.ts";

export interface RootfsRecipe {
  /** Name in the cache and in progress lines. */
  name: string;
  suite: "bookworm" | "trixie";
  /** Debian packages beyond debootstrap's smallest set. */
  packages: readonly string[];
  /** Keeps Python's compiled files: without them every process compiles what it imports, torch for seconds. */
  bytecode?: boolean;
  /** Changes to the tree before it is packed; `key` is part of the hash. */
  finish?: { key: string; apply: (tree: string) => Promise<void> };
}

/** Mirror of Debian's packages; none: debootstrap's own default. */
const MIRROR = process.env["CSPS_DEBIAN_MIRROR"];

/** What an image never reads: documentation, translations, package lists. */
const STRIPPED = [
  "usr/share/doc usr/share/man usr/share/locale usr/share/info usr/share/lintian usr/share/bug",
  "var/cache/apt/* var/cache/debconf/* var/lib/apt/lists/* var/log/*",
]
  .join(" ")
  .split(" ");

/** Runs a shell script in the tree with /proc, /dev and name resolution; the mounts go with the script. */
export async function inChroot(tree: string, script: string, logFile?: string): Promise<void> {
  const outer = [
    "mount --make-rprivate /",
    'mount -t proc proc "$1/proc"',
    'mount --bind /dev "$1/dev"',
    'rm -f "$1/etc/resolv.conf"; cp -L /etc/resolv.conf "$1/etc/resolv.conf"',
    'chroot "$1" /bin/bash -euc "$2"',
  ].join("\n");
  await run("unshare", ["--mount", "bash", "-euc", outer, "chroot", tree, script], {
    env: {
      DEBIAN_FRONTEND: "noninteractive",
      LC_ALL: "C",
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    },
    timeoutMs: 30 * 60_000,
    ...(logFile === undefined ? {} : { logFile }),
  });
}

async function strip(tree: string, bytecode: boolean): Promise<void> {
  const script = `
    cd "$1"
    rm -rf ${STRIPPED.join(" ")} etc/resolv.conf
    [ -d usr ] || exit 0
    ${bytecode ? "" : "find usr -name __pycache__ -type d -prune -exec rm -rf {} +"}
    if [ -d usr/lib/python3 ]; then find usr/lib/python3* -type d \\( -name tests -o -name test \\) -prune -exec rm -rf {} +; fi
    mkdir -p var/log var/cache/apt/archives/partial
  `;
  await run("bash", ["-euc", script, "strip", tree]);
}

/** debootstrap's smallest tree of a Debian suite, as a tar. */
async function minimalTar(suite: RootfsRecipe["suite"]): Promise<string> {
  const key = await contentKey({ texts: [suite, "minbase"] });
  const folder = await cachedFolder(`debian-${suite}`, key, async (target) => {
    await ensurePackages(["debootstrap"]);
    const tree = join(target, "tree");
    await step(`debootstrap ${suite}`, async () => {
      await run(
        "debootstrap",
        ["--variant=minbase", suite, tree, ...(MIRROR === undefined ? [] : [MIRROR])],
        {
          timeoutMs: 20 * 60_000,
          logFile: join(target, "log"),
        },
      );
      await run("tar", ["-C", tree, "--numeric-owner", "-cf", join(target, "rootfs.tar"), "."]);
      await rm(tree, { recursive: true });
    });
  });
  return join(folder, "rootfs.tar");
}

/** The tar of a recipe's tree, built on first use. */
export async function ensureRootfs(recipe: RootfsRecipe): Promise<string> {
  const texts = [recipe.suite, recipe.packages.join(" "), STRIPPED.join(" "), recipe.finish?.key ?? ""];
  if (recipe.bytecode === true) texts.push("bytecode");
  const folder = await cachedFolder(`rootfs-${recipe.name}`, await contentKey({ texts }), async (target) => {
    const minimal = await minimalTar(recipe.suite);
    const tree = join(target, "tree");
    await step(`installing ${recipe.name} into Debian ${recipe.suite}`, async () => {
      await mkdir(tree);
      await run("tar", ["-C", tree, "--numeric-owner", "-xf", minimal]);
      if (recipe.packages.length > 0) {
        const install = `apt-get update -q; apt-get install -y -q --no-install-recommends ${recipe.packages.join(" ")}`;
        await inChroot(tree, install, join(target, "log"));
      }
      await recipe.finish?.apply(tree);
      await strip(tree, recipe.bytecode === true);
      await run("tar", ["-C", tree, "--numeric-owner", "-cf", join(target, "rootfs.tar"), "."]);
      await rm(tree, { recursive: true });
    });
  });
  return join(folder, "rootfs.tar");
}
