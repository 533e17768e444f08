/** What the Helm chart has of the schema of its values: the check that Helm runs, and the table for people. */
import { z } from "zod";
import { chartValues } from "../schema/chartValues.ts";

interface ValueSchema {
  type?: string;
  enum?: string[];
  items?: ValueSchema;
  properties?: Record<string, ValueSchema>;
  default?: unknown;
  description?: string;
}

/** JSON Schema that Helm checks the values of an install against; an unknown name is refused. */
export function valuesSchema(): string {
  return `${JSON.stringify(z.toJSONSchema(chartValues, { target: "draft-7", io: "input" }), undefined, 2)}\n`;
}

const introduction = `# CSPS chart

Installs the CSPS operator and its CRDs. Generated from \`crds/schema/chartValues.ts\` by \`npm run generate\`; do not edit.

    helm install csps charts/csps --namespace csps-system --create-namespace

One release serves the whole cluster. Helm installs CRDs once and never upgrades them: before \`helm upgrade\`, run
\`kubectl apply --server-side -f charts/csps/crds\`. \`helm uninstall\` keeps the CRDs and every CSPSDeployment.

The operator's pod runs under the restricted pod security standard. Its ClusterRole can read nodes and pods, write
what a CSPSDeployment is made of (pods, Services, ServiceAccounts, Deployments, StatefulSets, NetworkPolicies,
PodDisruptionBudgets, Secrets by name), and nothing else: it can't list or delete Secrets, exec into pods or hand out
rights.

| value | type | default | meaning |
| --- | --- | --- | --- |`;

export function chartReadme(): string {
  const schema = z.toJSONSchema(chartValues, { target: "draft-7", io: "input" }) as ValueSchema;
  return `${introduction}\n${rows(schema, "").join("\n")}\n`;
}

function rows(schema: ValueSchema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const here = path === "" ? name : `${path}.${name}`;
    if (field.properties) return rows(field, here);
    const initial = field.default === undefined ? "" : `\`${JSON.stringify(field.default)}\``;
    return [
      `| \`${here}\` | ${typeOf(field)} | ${initial} | ${(field.description ?? "").replaceAll("<", "&lt;")} |`,
    ];
  });
}

function typeOf(field: ValueSchema): string {
  if (field.enum) return field.enum.map((value) => `\`${value}\``).join(", ");
  return field.items ? `list of ${typeOf(field.items)}` : (field.type ?? "");
}
