/** kubectl-csps as users have it: the bundled program, with the cluster's kubeconfig and its kubectl on the PATH. */
import { delimiter, dirname, join } from "node:path";
import { z } from "zod";
import { run } from "../cluster/command.ts";
import { demand, eventually } from "./eventually.ts";
import { world } from "./world.ts";

const MINUTE = 60_000;
const ROOT = join(import.meta.dirname, "..", "..");
const NAME = "kubectl-csps";

/** Standard output of `kubectl csps words…`; throws unless the exit status is 0. */
export type KubectlCsps = (...words: string[]) => Promise<string>;

export async function builtPlugin(): Promise<KubectlCsps> {
  await run(process.execPath, ["operator/bin/build.ts", NAME], { cwd: ROOT, timeoutMs: 5 * MINUTE });
  const program = join(ROOT, "dist", NAME, `${NAME}.js`);
  const env = { PATH: [dirname(world.kubectl), process.env["PATH"] ?? ""].join(delimiter) };
  const where = ["--kubeconfig", world.kubeconfig, "-n", world.namespace];
  return (...words) => run(process.execPath, [program, ...words, ...where], { env, timeoutMs: 2 * MINUTE });
}

const verified = z.object({ compared: z.int(), differences: z.array(z.unknown()) });

/** Waits until `kv verify` finds running requests, and of each what its engines hold in the index; returns their number. */
export async function indexVerified(plugin: KubectlCsps, deadlineMs: number): Promise<number> {
  return await eventually(
    "the index to agree with the engines",
    deadlineMs,
    async () => {
      const answer = await plugin("kv", "verify", world.deployment, "-o", "json");
      const { compared, differences } = verified.parse(JSON.parse(answer));
      demand(differences.length === 0, JSON.stringify(differences));
      demand(compared > 0, "no request held still while it was compared");
      return compared;
    },
    100,
  );
}
