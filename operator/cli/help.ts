/** What `--help` prints. */
import type { Verb } from "./commandLine.ts";

const flags = `
Flags of every verb:
  -o, --output <format>   table (default), json or yaml
      --kubeconfig <file> Default: $KUBECONFIG, else ~/.kube/config
      --context <name>    Context of the kubeconfig; default: its current one
  -h, --help              Print this

Exit status: 0 done, 1 failed, 2 the command line or the file makes no sense, 3 plan, drain: it does not fit,
4 kv verify, explain --replay: it differs, 5 plan --trace: it fits, and there are warnings or no prediction.
`;

const overview = `Usage: kubectl csps <verb> [flags]

Looks at CSPSDeployments and tells what was decided for them. Only drain and rebalance change anything.

Verbs:
  status      Deployments, their groups and pools, conditions with reasons, ranks and nodes
  topology    The tree of racks, zones and hosts with free devices, and where groups lie
  explain     One deployment in sentences: what holds, what does not and why, what was decided and refused
  kv          Where the KV of running requests lies and how hot each rank is; whether the index agrees
  drain       Lets one rank hand over what it holds; the operator then replaces it
  rebalance   What would be moved between ranks now, or asks for it
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
refused in them. With --replay the recorded decisions are made again from what was known then, and compared.

Flags:
  -n, --namespace <name>  Default: that of the context
      --replay            Make the recorded decisions again; status 4 when one differs from its record

Examples:
  kubectl csps explain my-model
  kubectl csps explain my-model --replay
  kubectl csps explain my-model -n serving -o json
`,
  kv: `Usage: kubectl csps kv [verify] [name] [flags]

Where the KV of running requests lies, rank by rank and request by request, and the moves of the last ten minutes: the
engines' own inventory, asked through kubectl port-forward. The name may be left out when the namespace has one
deployment. "kv verify" compares the index in Redis with it: what the index lacks, has too much, or says otherwise.

Flags:
  -n, --namespace <name>  Default: that of the context

Exit status: 0 done, 4 verify: the index differs from the engines.

Examples:
  kubectl csps kv my-model
  kubectl csps kv my-model -o json | jq '.imbalance'
  kubectl csps kv verify my-model
`,
  drain: `Usage: kubectl csps drain <rank> [flags]

Lets one rank leave in order: it takes nothing new, its pool moves its pages to the others while requests go on, then
its pod is deleted and made again. Its node may be cordoned before, so that it comes back elsewhere.

Flags:
  -n, --namespace <name>  Default: that of the context
      --dry-run           Only tell how much would be moved, and whether the others have room

Exit status: 0 done, 3 --dry-run: the others lack room.

Examples:
  kubectl csps drain my-model-decode-2 --dry-run
  kubectl csps drain my-model-decode-2
`,
  rebalance: `Usage: kubectl csps rebalance [name] [flags]

Asks the operator to balance the decode pool now, for two minutes even when spec.decode.rebalance.mode is Disabled.
With --dry-run, what the planner would move now and what it refuses.

Flags:
  -n, --namespace <name>  Default: that of the context
      --dry-run           Change nothing

Examples:
  kubectl csps rebalance my-model --dry-run
  kubectl csps rebalance my-model
`,
  plan: `Usage: kubectl csps plan -f <file> [flags]

Where the ranks of the CSPSDeployments in a manifest would lie. The file is checked first: against the schema, then,
with a cluster, by the API server in a dry run. Places are found by the operator's own planner, from what is free now.
Room of running ranks of the same groups counts as free, since a change replaces them. Nothing is changed.

Flags:
  -f, --filename <file>   Manifest, YAML or JSON; - reads standard input
      --nodes <file>      Plan on these nodes instead of a cluster's: kubectl get nodes,pods -A -o yaml > nodes.yaml
  -n, --namespace <name>  Of manifests that name none; default: that of the context
      --trace <file>      Play this trace (.jsonl of Mooncake, .csv of Azure, also .gz) with the deployment's counts or
                          its autoscaler, and tell the times, the GPU-hours and what the objectives miss
      --accelerator <gpu> h100 or h200; default: what the nodes' label nvidia.com/gpu.product tells

With --trace the model's widths come from its name, as llama-3.1-8b or qwen3-32b. Of a model that is not known the places are
printed as usual, with a warning in place of the prediction.

Exit status: 0 everything fits, 3 something does not, 5 it fits and the trace gives warnings or nothing could be predicted,
2 a file is not valid.

Examples:
  kubectl csps plan -f my-model.yaml
  kubectl csps plan -f my-model.yaml --trace last-hour.csv --accelerator h100
  kubectl csps plan -f my-model.yaml --nodes nodes.yaml
  kubectl csps plan -f - -o json < my-model.yaml
`,
};

export function helpPage(of: Verb | "all"): string {
  return of === "all" ? `${overview}${flags}` : `${pages[of]}${flags}`;
}
