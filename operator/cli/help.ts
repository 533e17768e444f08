/** What `--help` prints. */
import type { Verb } from "./commandLine.ts";

const flags = `
Flags of every verb:
  -o, --output <format>   table (default), json or yaml
      --kubeconfig <file> Default: $KUBECONFIG, else ~/.kube/config
      --context <name>    Context of the kubeconfig; default: its current one
  -h, --help              Print this

Exit status: 0 done, 1 failed, 2 the command line or the file makes no sense, 3 plan: it does not fit.
`;

const overview = `Usage: kubectl csps <verb> [flags]

Looks at CSPSDeployments and tells what was decided for them. It changes nothing.

Verbs:
  status      Deployments, their groups and pools, conditions with reasons, ranks and nodes
  topology    The tree of racks, zones and hosts with free devices, and where groups lie
  explain     One deployment in sentences: what holds, what does not and why, what was decided and refused
  plan        Where the ranks of a manifest would lie on the cluster, before it is applied

Examples:
  kubectl csps status -A
  kubectl csps explain my-model
  kubectl csps plan -f my-model.yaml
  kubectl csps help plan
`;

const pages: Record<Verb, string> = {
  status: `Usage: kubectl csps status [name] [flags]

Deployments of a namespace: what is ready of each, its conditions with reasons, its groups and pool, and every rank
with the node that it is on.

Flags:
  -n, --namespace <name>  Default: that of the context
  -A, --all-namespaces    Of all namespaces

Examples:
  kubectl csps status
  kubectl csps status my-model -n serving
  kubectl csps status -A -o json | jq '.[].reason'
`,
  topology: `Usage: kubectl csps topology [flags]

The tree of domains that placement sees, broad to narrow: nodes and free devices of each, and which groups lie there.
A group is shown at the smallest domain that holds all of its ranks, its ranks at their hosts. Devices of nodes that
are not ready or unschedulable do not count as free.

Flags:
      --resource <name>   Resource that is counted; default: nvidia.com/gpu
      --level <name>      Show nothing narrower than this level: host, accelerator, rack, spine, core, zone, region

Examples:
  kubectl csps topology
  kubectl csps topology --level rack
  kubectl csps topology --resource cpu -o yaml
`,
  explain: `Usage: kubectl csps explain <name> [flags]

One deployment in sentences: whether it serves, each condition and why, each group, the decisions of late and what was
refused in them.

Flags:
  -n, --namespace <name>  Default: that of the context

Examples:
  kubectl csps explain my-model
  kubectl csps explain my-model -n serving -o json
`,
  plan: `Usage: kubectl csps plan -f <file> [flags]

Where the ranks of the CSPSDeployments in a manifest would lie. The file is checked first: against the schema, then,
with a cluster, by the API server in a dry run. Places are found by the operator's own planner, from what is free now.
Room of running ranks of the same groups counts as free, since a change replaces them. Nothing is changed.

Flags:
  -f, --filename <file>   Manifest, YAML or JSON; - reads standard input
      --nodes <file>      Plan on these nodes instead of a cluster's: kubectl get nodes,pods -A -o yaml > nodes.yaml
  -n, --namespace <name>  Of manifests that name none; default: that of the context

Exit status: 0 everything fits, 3 something does not, 2 the file is not valid.

Examples:
  kubectl csps plan -f my-model.yaml
  kubectl csps plan -f my-model.yaml --nodes nodes.yaml
  kubectl csps plan -f - -o json < my-model.yaml
`,
};

export function helpPage(of: Verb | "all"): string {
  return of === "all" ? `${overview}${flags}` : `${pages[of]}${flags}`;
}
