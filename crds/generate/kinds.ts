/** The kinds of csps.io/v1alpha1: their names, schemas and what `kubectl get` prints of them. */
import type { z } from "zod";
import { roleScalerSpec, roleScalerStatus } from "../schema/autoscaling.ts";
import { cspsDeploymentSpec, cspsDeploymentStatus } from "../schema/cspsdeployment.ts";
import { decodePoolSpec, gangStatus, spGroupSpec } from "../schema/rankgroup.ts";
import type { Rule } from "../schema/rule.ts";

export interface Column {
  name: string;
  type: "string" | "integer" | "date";
  jsonPath: string;
  description?: string;
  /** 1: only in `-o wide`. */
  priority?: number;
}

export interface Kind {
  kind: string;
  plural: string;
  shortNames: string[];
  description: string;
  spec: z.ZodType;
  status: z.ZodType;
  columns: Column[];
  /** JSONPaths of the scale subresource. */
  scale?: { specReplicasPath: string; statusReplicasPath: string; labelSelectorPath: string };
  /** On the whole object, where `self.metadata.name` can be read. */
  rules?: Rule[];
}

const age: Column = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };
const reason: Column = {
  name: "Reason",
  type: "string",
  jsonPath: ".status.reason",
  description: "Why it is in the state it is",
};

const gangColumns: Column[] = [
  { name: "Ranks", type: "integer", jsonPath: ".spec.ranks", description: "Ranks it should have" },
  {
    name: "Ready",
    type: "integer",
    jsonPath: ".status.ranksReady",
    description: "Ranks in the present epoch",
  },
  {
    name: "Epoch",
    type: "integer",
    jsonPath: ".status.epoch",
    description: "Number of the present communicator",
  },
  {
    name: "Domain",
    type: "string",
    jsonPath: ".status.domain",
    description: "Topology domain that holds it",
  },
  reason,
  age,
  {
    name: "Restarts",
    type: "integer",
    jsonPath: ".status.restarts",
    description: "Rank pods replaced",
    priority: 1,
  },
  { name: "Deployment", type: "string", jsonPath: ".spec.deployment", description: "Owner", priority: 1 },
];

/** Names of pods, Services and labels are made from it: <name>-prefill-<n>-<rank> must fit 63 characters. */
const nameRule: Rule = {
  rule: "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
  message:
    "metadata.name must have at most 40 characters, of a-z, 0-9 and -, and start with a letter: Services and pods are named after it",
  fieldPath: ".metadata.name",
};

export const kinds: Kind[] = [
  {
    kind: "CSPSDeployment",
    plural: "cspsdeployments",
    shortNames: ["csps"],
    description: "A model behind an OpenAI-compatible endpoint, served by sequence-parallel groups of pods",
    spec: cspsDeploymentSpec,
    status: cspsDeploymentStatus,
    columns: [
      {
        name: "Available",
        type: "string",
        jsonPath: '.status.conditions[?(@.type=="Available")].status',
        description: "Whether requests are answered",
      },
      {
        name: "Groups",
        type: "string",
        jsonPath: ".status.groupsReady",
        description: "Ready prefill groups of desired",
      },
      {
        name: "Degree",
        type: "integer",
        jsonPath: ".status.degree",
        description: "SP degree of the prefill groups now",
      },
      {
        name: "Decode",
        type: "string",
        jsonPath: ".status.decodeRanksReady",
        description: "Ready decode ranks of desired",
      },
      reason,
      age,
      { name: "Model", type: "string", jsonPath: ".spec.model.name", priority: 1 },
      { name: "Endpoint", type: "string", jsonPath: ".status.endpoint", priority: 1 },
    ],
    rules: [nameRule],
  },
  {
    kind: "SPGroup",
    plural: "spgroups",
    shortNames: ["spg"],
    description:
      "One gang of ranks that reads prompts together. Made and owned by a CSPSDeployment; not to be written by hand",
    spec: spGroupSpec,
    status: gangStatus,
    columns: gangColumns,
  },
  {
    kind: "DecodePool",
    plural: "decodepools",
    shortNames: ["dp"],
    description:
      "The ranks that hold KV and produce tokens. Made and owned by a CSPSDeployment; not to be written by hand",
    spec: decodePoolSpec,
    status: gangStatus,
    columns: gangColumns,
  },
  {
    kind: "RoleScaler",
    plural: "rolescalers",
    shortNames: ["rscaler"],
    description:
      "One count of a CSPSDeployment whose autoscaling.mode is External; its scale subresource is what an HPA or KEDA sets. Made and owned by the CSPSDeployment",
    spec: roleScalerSpec,
    status: roleScalerStatus,
    scale: {
      specReplicasPath: ".spec.replicas",
      statusReplicasPath: ".status.replicas",
      labelSelectorPath: ".status.selector",
    },
    columns: [
      { name: "Role", type: "string", jsonPath: ".spec.role", description: "prefill groups or decode ranks" },
      { name: "Wanted", type: "integer", jsonPath: ".spec.replicas", description: "Replicas asked for" },
      { name: "Present", type: "integer", jsonPath: ".status.replicas", description: "Replicas there are" },
      { name: "Deployment", type: "string", jsonPath: ".spec.deployment", description: "Owner" },
      age,
    ],
  },
];
