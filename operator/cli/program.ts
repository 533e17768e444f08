/** From the words of the command line to an exit status. */
import { ApiError, isForbidden, isUnreachable } from "../kube/api-error.ts";
import { type Cluster, connect } from "../kube/cluster.ts";
import { type HelpWanted, type Invocation, parseCommandLine } from "./commandLine.ts";
import { CliError, exitCode, FileError, UsageError } from "./exitCode.ts";
import { helpPage } from "./help.ts";
import { parseDeployments, parseMachines } from "./manifest.ts";
import { readMachines } from "./observe.ts";
import { printed, type Report } from "./output/report.ts";
import { checkByServer } from "./serverCheck.ts";
import type { Surroundings } from "./surroundings.ts";
import { explain } from "./verbs/explain.ts";
import { runPoolVerb } from "./poolVerbs.ts";
import { replayDecisions } from "./verbs/replay.ts";
import { type Checked, plan } from "./verbs/plan.ts";
import { status } from "./verbs/status.ts";
import { topology } from "./verbs/topology.ts";

/** Never throws: what goes wrong is a sentence on standard error and the status. */
export async function runCli(args: readonly string[], around: Surroundings): Promise<number> {
  try {
    const wanted: Invocation | HelpWanted = parseCommandLine(args);
    if ("help" in wanted) {
      around.write(helpPage(wanted.help));
      return exitCode.done;
    }
    const report = await runVerb(wanted, around);
    around.write(printed(report, wanted.format, around.colour));
    return report.exit;
  } catch (error) {
    around.writeError(`Error: ${told(error)}\n`);
    if (!(error instanceof UsageError)) return exitCode.failed;
    if (!(error instanceof FileError)) around.writeError("See kubectl csps --help.\n");
    return exitCode.usage;
  }
}

function runVerb(invocation: Invocation, around: Surroundings): Promise<Report> {
  const { verb, name } = invocation;
  if (verb === "plan") return runPlan(invocation, around);
  return withCluster(invocation, async (cluster) => {
    const namespace = namespaceOf(invocation, cluster);
    switch (verb) {
      case "status": {
        const target = { namespace: invocation.allNamespaces ? undefined : namespace, name };
        return status(cluster, target, around.nowMs());
      }
      case "explain": {
        const explainer = invocation.replay ? replayDecisions : explain;
        return explainer(cluster, { namespace, name: name ?? "" }, around.nowMs());
      }
      case "kv":
      case "drain":
      case "rebalance":
        return runPoolVerb(invocation, { cluster, around }, namespace);
      case "topology": {
        const { resource, level } = invocation;
        return topology(await readMachines(cluster), { resource, level, nowMs: around.nowMs });
      }
    }
  });
}

async function runPlan(invocation: Invocation, around: Surroundings): Promise<Report> {
  const { filename, nodesFile, traffic } = invocation;
  if (filename === undefined) throw new UsageError("plan needs a manifest: -f <file>");
  const text = await readText(filename, around);
  if (nodesFile !== undefined) {
    const namespace = invocation.namespace ?? "default";
    const machines = parseMachines(await readText(nodesFile, around), nodesFile);
    const note = "rules between fields were not checked: no cluster was asked";
    const deployments = parseDeployments(text, { path: filename, namespace });
    return plan(
      deployments.map((deployment) => ({ deployment, note })),
      { machines, traffic },
      around,
    );
  }
  // A file that is not valid is refused before any cluster is asked.
  parseDeployments(text, { path: filename, namespace: "" });
  return withCluster(invocation, async (cluster) => {
    const namespace = namespaceOf(invocation, cluster);
    const checked: Checked[] = [];
    for (const deployment of parseDeployments(text, { path: filename, namespace })) {
      checked.push({ deployment, note: await checkByServer(cluster, deployment) });
    }
    return plan(checked, { machines: await readMachines(cluster), traffic }, around);
  });
}

async function withCluster(
  { kubeconfig, context }: Invocation,
  act: (cluster: Cluster) => Promise<Report>,
): Promise<Report> {
  const cluster = connectTo(kubeconfig, context);
  try {
    return await act(cluster);
  } finally {
    cluster.close();
  }
}

function connectTo(kubeconfig: string | undefined, context: string | undefined): Cluster {
  try {
    return connect({ kubeconfig, context, userAgent: "kubectl-csps" });
  } catch (error) {
    throw new UsageError(`the kubeconfig can't be used: ${told(error)}`);
  }
}

function namespaceOf(invocation: Invocation, cluster: Cluster): string {
  return invocation.namespace ?? cluster.namespace ?? "default";
}

async function readText(path: string, around: Surroundings): Promise<string> {
  try {
    return await around.readFile(path);
  } catch (error) {
    throw new FileError(`${path} can't be read: ${told(error)}`);
  }
}

function told(error: unknown): string {
  if (error instanceof UsageError || error instanceof CliError) return error.message;
  if (error instanceof ApiError) {
    if (isUnreachable(error)) return `the API server does not answer: ${error.message}`;
    if (isForbidden(error)) return `you may not do this: ${error.body?.message ?? error.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}
