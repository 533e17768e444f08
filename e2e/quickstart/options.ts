/** The command line of `npm run quickstart`. */
import { homedir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

export const HELP = `Usage: npm run quickstart -- [options]

Gets a cluster, installs CSPS, serves a small real model on it and asks it two things.

  (no option)          a cluster of containers on this machine (root, Docker; both are seen to)
  --kubeconfig FILE    use this cluster instead of making one
  --context NAME       use this context of the kubeconfig
  --push REGISTRY      with a cluster of yours: push the images there, for example ghcr.io/me;
                       without it the cluster must be able to pull csps/* by itself
  --name NAME          name of the cluster that is made (default csps-quickstart)
  --down               remove everything that the quickstart made
  --help               this text

Environment: CSPS_CACHE     where what is expensive to make is kept (default ~/.cache/csps)
             CSPS_REGISTRY  "none": do not ask for public images, make everything here
             CSPS_DEBIAN_MIRROR  mirror of Debian's packages for the images made here`;

export interface Options {
  help: boolean;
  down: boolean;
  name: string;
  /** Present when the user names a cluster. */
  named?: { kubeconfig: string; context?: string };
  push?: string;
}

/** Reads the arguments; throws with a sentence on one that does not exist or does not fit. */
export function parseOptions(args: readonly string[], env: NodeJS.ProcessEnv): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      kubeconfig: { type: "string" },
      context: { type: "string" },
      push: { type: "string" },
      name: { type: "string", default: "csps-quickstart" },
      down: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const isNamed = values.kubeconfig !== undefined || values.context !== undefined;
  if (values.push !== undefined && !isNamed) throw new Error("--push goes with --kubeconfig or --context");
  if (!/^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$/.test(values.name)) {
    throw new Error(`--name ${values.name}: use up to 42 lower-case letters, digits and dashes`);
  }
  const kubeconfig = values.kubeconfig ?? env["KUBECONFIG"] ?? join(homedir(), ".kube", "config");
  return {
    help: values.help,
    down: values.down,
    name: values.name,
    ...(isNamed
      ? { named: { kubeconfig, ...(values.context === undefined ? {} : { context: values.context }) } }
      : {}),
    ...(values.push === undefined ? {} : { push: values.push.replace(/\/+$/, "") }),
  };
}
